// Peer of the row "scan": identity, replay state and lifetime of each NEWAE by a hand-written loop. It reads the fields that
// AeventCursor reads, checks the lengths that it checks, and allocates nothing.
//   scan CORPUS, then on stdin: "verify" | "run MILLISECONDS"
#include "peer.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>

struct counters {
  uint32_t daddr[4];
  uint32_t spi, family, proto, flags, reqid;
  uint32_t mark_value, mark_mask, if_id;
  uint32_t oseq, oseq_hi, seq, seq_hi;
  uint32_t window, words;
  uint64_t bytes, packets, added, used;
};

// Reads the message at `p`; returns its aligned length, or 0 if it is no sound NEWAE.
static size_t scan_one(const unsigned char *p, size_t left, struct counters *out) {
  if (left < sizeof(struct nlmsghdr)) return 0;
  const struct nlmsghdr *header = (const void *)p;
  size_t length = header->nlmsg_len;
  if (length > left || length < NLMSG_LENGTH(sizeof(struct xfrm_aevent_id)) || header->nlmsg_type != XFRM_MSG_NEWAE) return 0;
  const struct xfrm_aevent_id *id = NLMSG_DATA(header);
  for (int i = 0; i < 4; i++) out->daddr[i] = ntohl(id->sa_id.daddr.a6[i]);
  out->spi = ntohl(id->sa_id.spi);
  out->family = id->sa_id.family;
  out->proto = id->sa_id.proto;
  out->flags = id->flags;
  out->reqid = id->reqid;
  out->mark_value = out->mark_mask = out->if_id = 0;
  int replay_seen = 0, lifetime_seen = 0;
  for (size_t at = NLMSG_LENGTH(sizeof *id); at + NLA_HDRLEN <= length;) {
    const struct nlattr *attribute = (const void *)(p + at);
    size_t size = attribute->nla_len;
    if (size < NLA_HDRLEN || at + size > length) return 0;
    const void *payload = p + at + NLA_HDRLEN;
    switch (attribute->nla_type & NLA_TYPE_MASK) {
      case XFRMA_REPLAY_VAL: {
        const struct xfrm_replay_state *replay = payload;
        if (size < NLA_HDRLEN + sizeof *replay) return 0;
        out->oseq = replay->oseq;
        out->seq = replay->seq;
        out->oseq_hi = out->seq_hi = out->window = 0;
        out->words = 1;
        replay_seen = 1;
        break;
      }
      case XFRMA_REPLAY_ESN_VAL: {
        const struct xfrm_replay_state_esn *replay = payload;
        if (size < NLA_HDRLEN + sizeof *replay) return 0;
        if (replay->bmp_len > (size - NLA_HDRLEN - sizeof *replay) / 4) return 0;
        out->oseq = replay->oseq;
        out->seq = replay->seq;
        out->oseq_hi = replay->oseq_hi;
        out->seq_hi = replay->seq_hi;
        out->window = replay->replay_window;
        out->words = replay->bmp_len;
        replay_seen = 1;
        break;
      }
      case XFRMA_LTIME_VAL: {
        if (size < NLA_HDRLEN + sizeof(struct xfrm_lifetime_cur)) return 0;
        memcpy(&out->bytes, payload, 8);
        memcpy(&out->packets, (const unsigned char *)payload + 8, 8);
        memcpy(&out->added, (const unsigned char *)payload + 16, 8);
        memcpy(&out->used, (const unsigned char *)payload + 24, 8);
        lifetime_seen = 1;
        break;
      }
      case XFRMA_MARK: {
        const struct xfrm_mark *mark = payload;
        if (size < NLA_HDRLEN + sizeof *mark) return 0;
        out->mark_value = mark->v;
        out->mark_mask = mark->m;
        break;
      }
      case XFRMA_IF_ID: {
        if (size < NLA_HDRLEN + 4) return 0;
        memcpy(&out->if_id, payload, 4);
        break;
      }
    }
    at += NLA_ALIGN(size);
  }
  return replay_seen && lifetime_seen ? NLMSG_ALIGN(length) : 0;
}

static uint32_t checksum(uint32_t sum, const struct counters *c) {
  for (int i = 0; i < 4; i++) sum = mix(sum, c->daddr[i]);
  sum = mix(mix(mix(mix(sum, c->spi), c->family), c->proto), c->flags);
  sum = mix(mix(mix(mix(sum, c->oseq), c->oseq_hi), c->seq), c->seq_hi);
  sum = mix(mix(sum, (uint32_t)c->bytes), (uint32_t)(c->bytes >> 32));
  return mix(mix(sum, (uint32_t)c->packets), (uint32_t)(c->packets >> 32));
}

static uint32_t touch(uint32_t sum, const struct counters *c) {
  sum += c->daddr[0] + c->daddr[1] + c->daddr[2] + c->daddr[3] + c->spi + c->family + c->proto + c->flags;
  sum += c->reqid + c->mark_value + c->mark_mask + c->if_id + c->window + c->words;
  sum += c->oseq + c->oseq_hi + c->seq + c->seq_hi + (uint32_t)c->bytes + (uint32_t)c->packets;
  return sum + (uint32_t)c->added + (uint32_t)c->used;
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  size_t bytes;
  unsigned char *corpus = read_corpus(argv[1], &bytes);
  for (char *command; (command = next_command());) {
    struct counters counters = {0};
    uint32_t sum = 0;
    uint64_t messages = 0, start = now_ns(), end = start, limit_ns = 0;
    if (!strncmp(command, "run ", 4)) limit_ns = strtoull(command + 4, 0, 10) * 1000000u;
    do {
      for (size_t at = 0, step; at < bytes; at += step) {
        step = scan_one(corpus + at, bytes - at, &counters);
        if (!step) die("not a NEWAE");
        sum = limit_ns ? touch(sum, &counters) : checksum(sum, &counters);
        messages++;
      }
      end = now_ns();
    } while (end - start < limit_ns);
    printf("messages=%llu ns=%llu sum=%u\n", (unsigned long long)messages, (unsigned long long)(end - start), sum);
    fflush(stdout);
  }
  return 0;
}
