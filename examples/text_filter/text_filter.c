/* A text filter as a plain WASI program: copies stdin to stdout with e-mail addresses and card numbers masked.
 *
 *   text_filter [--mask CHAR] [--keep-email] [--keep-cards]
 *
 * A card number has 13 to 19 digits, possibly separated by single spaces or hyphens, that pass the Luhn check. Exit code:
 * 0 if nothing was found, 1 if something was, 2 for unknown arguments.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char mask = '*';

static int is_local(int c) { return isalnum(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-'; }
static int is_domain(int c) { return isalnum(c) || c == '.' || c == '-'; }

static void black_out(char *from, char *to) {
  for (; from < to; from++)
    if (*from != ' ' && *from != '-') *from = mask;
}

static int emails(char *text, size_t size) {
  int found = 0;
  for (char *at = memchr(text, '@', size); at; at = memchr(at + 1, '@', (size_t)(text + size - at - 1))) {
    char *from = at, *to = at + 1, *dot = NULL;
    while (from > text && is_local((unsigned char)from[-1])) from--;
    for (; to < text + size && is_domain((unsigned char)*to); to++)
      if (*to == '.' && to + 2 < text + size && isalpha((unsigned char)to[1])) dot = to;
    while (to > at + 1 && !isalnum((unsigned char)to[-1])) to--; /* a full stop that ends the sentence */
    if (from == at || !dot || dot >= to) continue;
    for (char *c = from; c < to; c++)
      if (*c != '@') *c = mask;
    found++;
  }
  return found;
}

static int luhn(const char *digits, int count) {
  int sum = 0;
  for (int i = 0; i < count; i++) {
    int d = digits[count - 1 - i] - '0';
    if (i % 2 && (d *= 2) > 9) d -= 9;
    sum += d;
  }
  return sum % 10 == 0;
}

static int cards(char *text, size_t size) {
  int found = 0;
  for (size_t i = 0; i < size; i++) {
    if (!isdigit((unsigned char)text[i]) || (i && isdigit((unsigned char)text[i - 1]))) continue;
    char digits[19];
    size_t count = 0; /* digits of the whole run, which can be longer than 19 */
    size_t end = i, next = i;
    while (next < size) {
      if (isdigit((unsigned char)text[next])) {
        if (count < sizeof digits) digits[count] = text[next];
        count++, next++;
        end = next;
      } else if ((text[next] == ' ' || text[next] == '-') && next + 1 < size && isdigit((unsigned char)text[next + 1])) {
        next++;
      } else {
        break;
      }
    }
    if (count >= 13 && count <= 19 && luhn(digits, (int)count)) {
      black_out(text + i, text + end);
      found++;
    }
    i = end;
  }
  return found;
}

int main(int argc, char **argv) {
  int keep_email = 0, keep_cards = 0;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--keep-email")) keep_email = 1;
    else if (!strcmp(argv[i], "--keep-cards")) keep_cards = 1;
    else if (!strcmp(argv[i], "--mask") && i + 1 < argc && strlen(argv[i + 1]) == 1) mask = argv[++i][0];
    else return fprintf(stderr, "unknown argument: %s\n", argv[i]), 2;
  }
  size_t size = 0, room = 1 << 16, got;
  char *text = malloc(room);
  while (text && (got = fread(text + size, 1, room - size, stdin)) > 0) {
    size += got;
    if (size == room) text = realloc(text, room *= 2);
  }
  if (!text) return fprintf(stderr, "out of memory\n"), 3;
  int mails = keep_email ? 0 : emails(text, size), numbers = keep_cards ? 0 : cards(text, size);
  fwrite(text, 1, size, stdout);
  fprintf(stderr, "%d e-mail addresses, %d card numbers\n", mails, numbers);
  return mails || numbers;
}
