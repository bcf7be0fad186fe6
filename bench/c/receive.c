// Peer of the row "receive": poll and recvmmsg, the sender checked, each message counted and summed.
//   receive, then on stdin: "open BYTES" | "drain COUNT" | "live COUNT" | "close"
#include "netlink.h"

#include <poll.h>
#include <sys/resource.h>

enum { QUIET_MS_MAX = 2000 }; // "live" gives up after this long without an event

static struct slots slots;

static uint64_t cpu_us(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
         (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// Counts the messages of the first `count` slots; those of other processes are not counted.
static void walk(int count, uint64_t *messages, uint32_t *sum) {
  for (int i = 0; i < count; i++) {
    if (slots.names[i].nl_pid != 0) continue;
    size_t left = slots.headers[i].msg_len;
    unsigned char *p = slots.data[i];
    while (left >= sizeof(struct nlmsghdr)) {
      struct nlmsghdr *header = (struct nlmsghdr *)p;
      if (header->nlmsg_len < sizeof *header || header->nlmsg_len > left) break;
      *sum += header->nlmsg_seq + header->nlmsg_type;
      ++*messages;
      size_t step = NLMSG_ALIGN(header->nlmsg_len);
      if (step >= left) break;
      p += step;
      left -= step;
    }
  }
}

static void answer(uint64_t messages, uint64_t ns, uint32_t sum, unsigned overruns, uint64_t us) {
  printf("messages=%llu ns=%llu sum=%u overruns=%u cpu_us=%llu\n", (unsigned long long)messages,
         (unsigned long long)ns, sum, overruns, (unsigned long long)us);
}

static void receive(int fd, uint64_t wanted, int live) {
  uint64_t messages = 0, start = live ? 0 : now_ns(), end = start, cpu = cpu_us();
  uint32_t sum = 0;
  unsigned overruns = 0;
  while (messages < wanted) {
    if (live) {
      struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
      if (poll(&poll_fd, 1, QUIET_MS_MAX) <= 0) break;
    }
    int count = receive_slots(fd, &slots);
    if (count < 0) {
      if (errno != ENOBUFS) die("recvmmsg");
      overruns++;
      continue;
    }
    if (!count && !live) break;
    if (live && !start) start = now_ns();
    walk(count, &messages, &sum);
    if (live) end = now_ns();
  }
  if (!live) end = now_ns();
  answer(messages, end - start, sum, overruns, cpu_us() - cpu);
}

int main(void) {
  int fd = -1;
  arm_slots(&slots);
  for (char *command; (command = next_command());) {
    if (!strncmp(command, "open ", 5)) {
      fd = open_xfrm(1u << (XFRMNLGRP_POLICY - 1), atoi(command + 5));
      printf("granted=%d\n", granted_bytes(fd));
    } else if (!strncmp(command, "drain ", 6)) {
      receive(fd, strtoull(command + 6, 0, 10), 0);
    } else if (!strncmp(command, "live ", 5)) {
      receive(fd, strtoull(command + 5, 0, 10), 1);
    } else if (!strcmp(command, "close")) {
      close(fd);
      printf("closed=1\n");
    } else {
      printf("error command\n");
    }
    fflush(stdout);
  }
  return 0;
}
