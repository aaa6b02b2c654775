/* Text that leaves the server: truncated, and without control characters except newlines, as in `messages.py`. */
#include "triton_layer.h"

enum { MOST = 4096, ROOM = MOST - 80 };

/* Characters that are not printable: control characters except newlines, spaces except U+0020, format characters (which forge lines or
   reverse text), private use. */
static const struct { uint32_t first, last; } HIDDEN[] = {
  {0, 0x9}, {0xB, 0x1F}, {0x7F, 0xA0}, {0xAD, 0xAD}, {0x600, 0x605}, {0x61C, 0x61C}, {0x6DD, 0x6DD}, {0x70F, 0x70F}, {0x890, 0x891},
  {0x8E2, 0x8E2}, {0x1680, 0x1680}, {0x180E, 0x180E}, {0x2000, 0x200F}, {0x2028, 0x202F}, {0x205F, 0x206F}, {0x3000, 0x3000},
  {0xD800, 0xF8FF}, {0xFEFF, 0xFEFF}, {0xFFF0, 0xFFFB}, {0xFFFE, 0xFFFF}, {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x1343F},
  {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0x10FFFF}};

/* Decode the character at `s`, of `left` bytes, and its length; 0 if it is not UTF-8. */
static size_t character(const unsigned char *s, size_t left, uint32_t *c) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  size_t n = *s < 0x80 ? 1 : *s >= 0xC2 && *s < 0xE0 ? 2 : *s >= 0xE0 && *s < 0xF0 ? 3 : *s >= 0xF0 && *s < 0xF5 ? 4 : 0;
  if (!n || n > left) return 0;
  *c = n == 1 ? *s : *s & (0xFFu >> (n + 1));
  for (size_t i = 1; i < n; i++) {
    if ((s[i] & 0xC0) != 0x80) return 0;
    *c = *c << 6 | (s[i] & 0x3F);
  }
  return *c < least[n] || *c > 0x10FFFF || (*c >= 0xD800 && *c < 0xE000) ? 0 : n;
}

static int is_hidden(uint32_t c) {
  for (size_t i = 0; i < COUNT_OF(HIDDEN); i++) if (c >= HIDDEN[i].first && c <= HIDDEN[i].last) return 1;
  return 0;
}

/* Append the character at `s`, escaped if necessary; returns the number of bytes read. `to` has space for ten more bytes. */
static size_t escape(const unsigned char *s, size_t left, char *to, size_t *used) {
  uint32_t c;
  size_t n = character(s, left, &c);
  if (!n) c = *s;
  if (n && !is_hidden(c)) { memcpy(to + *used, s, n); *used += n; }
  else if (c == '\t' || c == '\r') *used += (size_t)sprintf(to + *used, c == '\t' ? "\\t" : "\\r");
  else *used += (size_t)sprintf(to + *used, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
  return n ? n : 1;
}

size_t text_plain(const char *from, size_t bytes, char *to) {
  const unsigned char *s = (const unsigned char *)from;
  static _Thread_local char whole[TEXT_MOST * 10 + 1];
  size_t used = 0, count = 0, at = 0;
  if (bytes > TEXT_MOST) bytes = TEXT_MOST;
  for (; at < bytes; count++) at += escape(s + at, bytes - at, whole, &used);
  if (used <= MOST) { memcpy(to, whole, used); to[used] = 0; return used; }
  size_t head = ROOM * 3 / 4, tail = used - ROOM / 4;
  while (head && ((unsigned char)whole[head] & 0xC0) == 0x80) head--; /* at a character boundary */
  while (tail < used && ((unsigned char)whole[tail] & 0xC0) == 0x80) tail++;
  memcpy(to, whole, head);
  int n = count < 1000 ? sprintf(to + head, "\n... (the middle of %zu characters is omitted) ...\n", count)
                       : sprintf(to + head, "\n... (the middle of %zu,%03zu characters is omitted) ...\n", count / 1000, count % 1000);
  memcpy(to + head + n, whole + tail, used - tail);
  used = head + (size_t)n + used - tail;
  to[used] = 0;
  return used;
}

void text_line(const char *from, size_t bytes, char *to) {
  const unsigned char *s = (const unsigned char *)from;
  size_t used = 0, at = 0;
  while (at < bytes && used < TEXT_LINE - 64) {
    if (s[at] == '\n') { used += (size_t)sprintf(to + used, "\\n"); at++; }
    else at += escape(s + at, bytes - at, to, &used);
  }
  if (at < bytes) used += (size_t)sprintf(to + used, " ... (%zu more bytes)", bytes - at);
  to[used] = 0;
}
