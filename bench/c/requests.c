// Peer of the row "requests": the same request, many to a sendmsg, each with its own sequence number; all acks awaited.
//   requests, then on stdin: "run MILLISECONDS BATCH TEMPLATE_IN_HEX"
#include "netlink.h"

enum { TEMPLATE_BYTES_MAX = 1024, BATCH_MAX = 256 };

static struct slots slots;

static size_t unhex(const char *text, unsigned char *out) {
  size_t bytes = 0;
  for (unsigned value; bytes < TEMPLATE_BYTES_MAX && sscanf(text + 2 * bytes, "%2x", &value) == 1; bytes++)
    out[bytes] = (unsigned char)value;
  return bytes;
}

int main(void) {
  static unsigned char buffer[BATCH_MAX * TEMPLATE_BYTES_MAX], template[TEMPLATE_BYTES_MAX];
  static char hex[COMMAND_BYTES_MAX];
  int fd = open_xfrm(0, 4 << 20);
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  uint32_t sequence = 0;
  arm_slots(&slots);
  for (char *command; (command = next_command());) {
    unsigned long long limit_ms = 0;
    unsigned batch = 0;
    if (sscanf(command, "run %llu %u %4000s", &limit_ms, &batch, hex) != 3 || batch < 1 || batch > BATCH_MAX) {
      printf("error command\n");
      return 2;
    }
    size_t size = unhex(hex, template), step = NLMSG_ALIGN(size);
    for (unsigned i = 0; i < batch; i++) memcpy(buffer + i * step, template, size);
    uint64_t acks = 0, replies = 0, failed = 0, reply_bytes = 0, start = now_ns(), end;
    do {
      for (unsigned i = 0; i < batch; i++) ((struct nlmsghdr *)(buffer + i * step))->nlmsg_seq = ++sequence;
      if (sendto(fd, buffer, batch * step, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) die("sendto");
      for (unsigned waiting = batch; waiting;) {
        int count = receive_slots(fd, &slots);
        if (count <= 0) die("an ack is missing");
        for (int i = 0; i < count; i++) {
          struct nlmsghdr *header = (struct nlmsghdr *)slots.data[i];
          if (slots.names[i].nl_pid != 0 || slots.headers[i].msg_len < sizeof *header) continue;
          if (header->nlmsg_type == NLMSG_ERROR) {
            if (((struct nlmsgerr *)NLMSG_DATA(header))->error) failed++;
            if (header->nlmsg_seq <= sequence - batch || header->nlmsg_seq > sequence) die("a stray ack");
            acks++;
            waiting--;
          } else {
            replies++;
            reply_bytes += header->nlmsg_len;
          }
        }
      }
      end = now_ns();
    } while (end - start < limit_ms * 1000000u);
    printf("messages=%llu ns=%llu replies=%llu failed=%llu bytes=%llu\n", (unsigned long long)acks,
           (unsigned long long)(end - start), (unsigned long long)replies, (unsigned long long)failed,
           (unsigned long long)reply_bytes);
    fflush(stdout);
  }
  return 0;
}
