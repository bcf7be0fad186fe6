// Makes the kernel send events: policies come and go, and each is one multicast to XFRMNLGRP_POLICY.
//   generator, then on stdin: "policy COUNT MESSAGES_PER_SENDMSG"; COUNT must be even
// The message sequence numbers run 0, 0, 1, 1, 2, 2, ...; the kernel repeats them in the events.
#include "netlink.h"

#include <arpa/inet.h>

enum { POLICIES = 4096, REQUEST_BYTES_MAX = 256, BATCH_MAX = 256 };

static size_t put_policy(unsigned char *p, uint32_t index, int remove) {
  struct nlmsghdr *header = (struct nlmsghdr *)p;
  struct xfrm_selector *selector;
  memset(p, 0, REQUEST_BYTES_MAX);
  header->nlmsg_flags = NLM_F_REQUEST;
  header->nlmsg_seq = index;
  if (remove) {
    struct xfrm_userpolicy_id *id = NLMSG_DATA(header);
    header->nlmsg_type = XFRM_MSG_DELPOLICY;
    header->nlmsg_len = NLMSG_LENGTH(sizeof *id);
    id->dir = XFRM_POLICY_OUT;
    selector = &id->sel;
  } else {
    struct xfrm_userpolicy_info *info = NLMSG_DATA(header);
    header->nlmsg_type = XFRM_MSG_NEWPOLICY;
    header->nlmsg_len = NLMSG_LENGTH(sizeof *info);
    info->lft.soft_byte_limit = info->lft.hard_byte_limit = XFRM_INF;
    info->lft.soft_packet_limit = info->lft.hard_packet_limit = XFRM_INF;
    info->dir = XFRM_POLICY_OUT;
    selector = &info->sel;
  }
  selector->family = AF_INET;
  selector->saddr.a4 = htonl(0xc0000201);                       // 192.0.2.1
  selector->daddr.a4 = htonl(0xc6120000 + index % POLICIES);    // 198.18.0.0/20
  selector->prefixlen_s = selector->prefixlen_d = 32;
  return NLMSG_ALIGN(header->nlmsg_len);
}

int main(void) {
  static unsigned char buffer[BATCH_MAX * REQUEST_BYTES_MAX];
  int fd = open_xfrm(0, 1 << 20);
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  for (char *command; (command = next_command());) {
    unsigned count = 0, batch = 0;
    if (sscanf(command, "policy %u %u", &count, &batch) != 2 || batch < 1 || batch > BATCH_MAX) {
      printf("error command\n");
      return 2;
    }
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < count;) {
      size_t bytes = 0;
      for (unsigned n = 0; n < batch && i < count; n++, i++) bytes += put_policy(buffer + bytes, i / 2, i & 1);
      if (sendto(fd, buffer, bytes, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) die("sendto");
    }
    printf("messages=%u ns=%llu\n", count, (unsigned long long)(now_ns() - start));
    fflush(stdout);
    // A refused request is answered even without NLM_F_ACK. None may have been.
    static unsigned char answer[SLOT_BYTES];
    if (recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0) fprintf(stderr, "generator: the kernel refused a policy\n");
  }
  return 0;
}
