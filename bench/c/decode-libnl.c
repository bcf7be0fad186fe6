// Peer of the row "decode": libnl-xfrm's own parser, one object per NEWAE, freed again.
//   decode-libnl CORPUS, then on stdin: "verify" | "run MILLISECONDS"
#include "peer.h"

#include <arpa/inet.h>
#include <netlink/addr.h>
#include <netlink/netlink.h>
#include <netlink/xfrm/ae.h>

enum { BITMAP_WORDS_MAX = 128 };

static struct xfrmnl_ae *parse(struct nlmsghdr *header) {
  struct xfrmnl_ae *ae = 0;
  int error = xfrmnl_ae_parse(header, &ae);
  if (error < 0 || !ae) {
    printf("error xfrmnl_ae_parse: %d\n", error);
    exit(1);
  }
  return ae;
}

static uint32_t checksum(uint32_t sum, struct xfrmnl_ae *ae) {
  uint32_t address[4] = {0, 0, 0, 0}, bitmap[BITMAP_WORDS_MAX];
  unsigned oseq = 0, seq = 0, oseq_hi = 0, seq_hi = 0, window, words;
  unsigned long long bytes = 0, packets = 0, added, used;
  struct nl_addr *daddr = xfrmnl_ae_get_daddr(ae);
  memcpy(address, nl_addr_get_binary_addr(daddr), nl_addr_get_len(daddr));
  for (int i = 0; i < 4; i++) sum = mix(sum, ntohl(address[i]));
  sum = mix(sum, (uint32_t)xfrmnl_ae_get_spi(ae));
  sum = mix(sum, (uint32_t)xfrmnl_ae_get_family(ae));
  sum = mix(sum, (uint32_t)xfrmnl_ae_get_proto(ae));
  sum = mix(sum, (uint32_t)xfrmnl_ae_get_flags(ae));
  if (xfrmnl_ae_get_replay_state_esn(ae, &oseq, &seq, &oseq_hi, &seq_hi, &window, &words, bitmap) < 0)
    xfrmnl_ae_get_replay_state(ae, &oseq, &seq, bitmap);
  sum = mix(mix(mix(mix(sum, oseq), oseq_hi), seq), seq_hi);
  xfrmnl_ae_get_curlifetime(ae, &bytes, &packets, &added, &used);
  sum = mix(mix(sum, (uint32_t)bytes), (uint32_t)(bytes >> 32));
  return mix(mix(sum, (uint32_t)packets), (uint32_t)(packets >> 32));
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  size_t bytes;
  unsigned char *corpus = read_corpus(argv[1], &bytes);
  for (char *command; (command = next_command());) {
    uint32_t sum = 0;
    uint64_t messages = 0, start = now_ns(), end = start, limit_ns = 0;
    if (!strncmp(command, "run ", 4)) limit_ns = strtoull(command + 4, 0, 10) * 1000000u;
    do {
      for (size_t at = 0; at < bytes;) {
        struct nlmsghdr *header = (struct nlmsghdr *)(corpus + at);
        struct xfrmnl_ae *ae = parse(header);
        if (limit_ns) sum += (uint32_t)xfrmnl_ae_get_spi(ae) + (uint32_t)xfrmnl_ae_get_flags(ae);
        else sum = checksum(sum, ae);
        xfrmnl_ae_put(ae);
        at += NLMSG_ALIGN(header->nlmsg_len);
        messages++;
      }
      end = now_ns();
    } while (end - start < limit_ns);
    printf("messages=%llu ns=%llu sum=%u\n", (unsigned long long)messages, (unsigned long long)(end - start), sum);
    fflush(stdout);
  }
  return 0;
}
