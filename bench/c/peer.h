// What every peer program shares: the clock, the corpus file, and the conversation with the bench (a line in, a line out).
#ifndef XFRMSYNC_BENCH_PEER_H
#define XFRMSYNC_BENCH_PEER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COMMAND_BYTES_MAX = 4096 };

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// Ends the peer with a word for the bench.
static inline void die(const char *what) {
  printf("error %s: %s\n", what, strerror(errno));
  fflush(stdout);
  exit(1);
}

// The whole corpus: netlink messages back to back.
static inline unsigned char *read_corpus(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  if (!file) die("corpus");
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  unsigned char *buffer = aligned_alloc(64, (*bytes + 63) & ~(size_t)63);
  if (!buffer || fread(buffer, 1, *bytes, file) != *bytes) die("corpus");
  fclose(file);
  return buffer;
}

// The next command of the bench, without its newline; 0 at the end.
static inline char *next_command(void) {
  static char line[COMMAND_BYTES_MAX];
  if (!fgets(line, sizeof line, stdin)) return 0;
  line[strcspn(line, "\n")] = 0;
  return line;
}

// One word into the checksum over key and counters (see corpus.ts).
static inline uint32_t mix(uint32_t sum, uint32_t word) { return sum * 31u + word; }

#endif
