#ifndef PORTALIS_TEXT_H
#define PORTALIS_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum { TEXT_MOST = 16 << 10, TEXT_ROOM = 4096 + 256, TEXT_LINE = 4096 };

/* `from` as a message that may leave the server, in `to`, which has TEXT_ROOM; its length. It ends with NUL. */
size_t text_plain(const char *from, size_t bytes, char *to);

/* `from` as one line of a log, in `to`, which has TEXT_LINE: a longer one is cut. */
void text_line(const char *from, size_t bytes, char *to);

#endif
