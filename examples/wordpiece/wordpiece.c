/* BERT's uncased WordPiece tokenizer: BYTES texts (UTF-8) become INT64 token ids and an attention mask, padded to the
 * longest text of the request, truncated to 512 tokens, with [CLS] first and [SEP] last.
 *
 * Like BERT's BasicTokenizer: control characters are dropped, letters are lower-cased and lose their accents, punctuation
 * and CJK ideographs become words. Then each word (at most 100 characters) is split into pieces, longest match first.
 */
#include "portalis.h"

#include "unicode.h"
#include "vocab.h"

PORTALIS_INTERFACE({"abi": 1, "convention": "dlpack",
  "inputs": [{"name": "text", "dtype": "BYTES", "dims": [-1]}],
  "outputs": [{"name": "input_ids", "dtype": "INT64", "dims": [-1, -1]},
              {"name": "attention_mask", "dtype": "INT64", "dims": [-1, -1]}],
  "description": "BERT uncased WordPiece tokenizer"})

enum { UNKNOWN = 100, CLS = 101, SEP = 102, MAX_TOKENS = 512, MAX_WORD = 100 };
#define COUNT(array) (int)(sizeof(array) / sizeof(array)[0])

static int in_ranges(const uint32_t *ranges, int count, uint32_t c) {
  int low = 0, high = count / 2;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (ranges[2 * middle + 1] < c) low = middle + 1;
    else high = middle;
  }
  return low < count / 2 && ranges[2 * low] <= c;
}

static int is_cjk(uint32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B820 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/* Decodes one character of UTF-8. Each invalid byte becomes U+FFFD. */
static uint32_t decode(const uint8_t *text, uint32_t size, uint32_t *at) {
  const uint8_t b = text[(*at)++];
  if (b < 0x80) return b;
  const int more = b >= 0xF0 && b < 0xF5 ? 3 : b >= 0xE0 && b < 0xF0 ? 2 : b >= 0xC2 && b < 0xE0 ? 1 : 0;
  uint32_t c = b & (0x3F >> more);
  if (!more || *at + more > size) return 0xFFFD;
  for (int i = 0; i < more; i++) {
    if ((text[*at + i] & 0xC0) != 0x80) return 0xFFFD;
    c = c << 6 | (text[*at + i] & 0x3F);
  }
  static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
  if (c < least[more] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return 0xFFFD;
  *at += more;
  return c;
}

static int encode(uint8_t *out, uint32_t c) {
  if (c < 0x80) return out[0] = (uint8_t)c, 1;
  const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  static const uint8_t lead[4] = {0, 0xC0, 0xE0, 0xF0};
  for (int i = more; i > 0; i--, c >>= 6) out[i] = 0x80 | (c & 0x3F);
  out[0] = (uint8_t)(lead[more] | c);
  return more + 1;
}

/* Lower case without accents: one to three characters. Returns their number. */
static int fold(uint32_t c, uint32_t *out) {
  if (c < 0x80) return out[0] = c >= 'A' && c <= 'Z' ? c + 32 : c, 1;
  if (c >= 0xAC00 && c < 0xD7A4) { /* a Hangul syllable is two or three letters */
    const uint32_t s = c - 0xAC00;
    out[0] = 0x1100 + s / 588, out[1] = 0x1161 + s % 588 / 28, out[2] = 0x11A7 + s % 28;
    return s % 28 ? 3 : 2;
  }
  int low = 0, high = COUNT(fold_from);
  while (low < high) {
    const int middle = (low + high) / 2;
    if (fold_from[middle] < c) low = middle + 1;
    else high = middle;
  }
  if (low == COUNT(fold_from) || fold_from[low] != c) return out[0] = c, 1;
  int count = 0;
  while (count < 3 && fold_to[3 * low + count]) out[count] = fold_to[3 * low + count], count++;
  return count;
}

static int compare(const uint8_t *a, const uint8_t *b, uint32_t size) {
  for (uint32_t i = 0; i < size; i++)
    if (a[i] != b[i]) return a[i] - b[i];
  return 0;
}

static int token(const uint8_t *text, uint32_t size) {
  int low = 0, high = COUNT(token_id);
  while (low < high) {
    const int middle = (low + high) / 2;
    const uint32_t start = token_at[middle], length = token_at[middle + 1] - start;
    const int order = compare(token_text + start, text, length < size ? length : size);
    if (order == 0 && length == size) return token_id[middle];
    if (order < 0 || (order == 0 && length < size)) low = middle + 1;
    else high = middle;
  }
  return -1;
}

typedef struct {
  int32_t ids[MAX_TOKENS], count;
  uint8_t word[2 + 4 * MAX_WORD]; /* "##", then the word */
  uint32_t ends[MAX_WORD + 1];    /* the offset of each character, and the end of the last */
  int length;                     /* number of characters; MAX_WORD + 1 if there are more */
} state;

static void add(state *s, int id) {
  if (s->count < MAX_TOKENS - 1) s->ids[s->count++] = id;
}

static void end_word(state *s) {
  if (!s->length) return;
  int found[MAX_WORD], count = 0, from = 0;
  while (from < s->length && s->length <= MAX_WORD) {
    int to = s->length, id = -1;
    uint8_t *start = s->word + s->ends[from] - (from ? 2 : 0), kept[2] = {start[0], start[1]};
    if (from) start[0] = start[1] = '#'; /* overwrites the last two bytes of the previous piece */
    for (; to > from && id < 0; to--) id = token(start, (uint32_t)(s->word + s->ends[to] - start));
    if (from) start[0] = kept[0], start[1] = kept[1];
    if (id < 0) break;
    found[count++] = id;
    from = to + 1;
  }
  if (from < s->length || s->length > MAX_WORD) add(s, UNKNOWN);
  else
    for (int i = 0; i < count; i++) add(s, found[i]);
  s->length = 0;
}

static void put(state *s, uint32_t c) {
  if (!s->length) s->ends[0] = 2;
  if (s->length >= MAX_WORD) {
    s->length = MAX_WORD + 1;
    return;
  }
  s->ends[s->length + 1] = s->ends[s->length] + (uint32_t)encode(s->word + s->ends[s->length], c);
  s->length++;
}

static void tokenize(state *s, const uint8_t *text, uint32_t size) {
  s->count = s->length = 0;
  add(s, CLS);
  for (uint32_t at = 0; at < size && s->count < MAX_TOKENS - 1;) {
    const uint32_t c = decode(text, size, &at);
    if (in_ranges(space_ranges, COUNT(space_ranges), c)) {
      end_word(s);
      continue;
    }
    if (c == 0 || c == 0xFFFD || in_ranges(control_ranges, COUNT(control_ranges), c)) continue;
    if (is_cjk(c)) end_word(s);
    uint32_t folded[3];
    const int count = fold(c, folded);
    for (int i = 0; i < count; i++) {
      const int alone = in_ranges(punctuation_ranges, COUNT(punctuation_ranges), folded[i]);
      if (alone) end_word(s);
      put(s, folded[i]);
      if (alone) end_word(s);
    }
    if (is_cjk(c)) end_word(s);
  }
  end_word(s);
  s->ids[s->count++] = SEP;
}

PORTALIS_INFER(in, n_in, out, n_out) {
  (void)n_in, (void)n_out;
  static state s;
  int32_t rank;
  const int64_t texts = portalis_bytes_shape(&in[0], &rank)[0];
  /* the tokens of all texts, concatenated; afterwards copied into padded rows */
  int32_t *tokens = (int32_t *)portalis_alloc((uint32_t)(4 * (texts + 1)), 16), *counts = tokens;
  int32_t **rows = (int32_t **)portalis_alloc((uint32_t)(sizeof *rows * (texts + 1)), 16);
  if (!tokens || !rows) return portalis_fail("out of memory");
  portalis_bytes item;
  uint32_t cursor = 0;
  int64_t longest = 0;
  for (int64_t i = 0; portalis_bytes_next(&in[0], &cursor, &item); i++) {
    tokenize(&s, item.data, item.size);
    rows[i] = (int32_t *)portalis_alloc((uint32_t)(4 * s.count), 16);
    if (!rows[i]) return portalis_fail("out of memory");
    __builtin_memcpy(rows[i], s.ids, 4 * (size_t)s.count);
    counts[i] = s.count;
    if (s.count > longest) longest = s.count;
  }
  const int64_t shape[2] = {texts, longest};
  int64_t *ids = (int64_t *)portalis_output(&out[0], 2, shape), *mask = (int64_t *)portalis_output(&out[1], 2, shape);
  if (!ids || !mask) return portalis_fail("out of memory");
  for (int64_t i = 0; i < texts; i++)
    for (int64_t j = 0; j < longest; j++) {
      ids[i * longest + j] = j < counts[i] ? rows[i][j] : 0;
      mask[i * longest + j] = j < counts[i];
    }
  return 0;
}
