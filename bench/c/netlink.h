// A NETLINK_XFRM socket for the peer programs.
#ifndef XFRMSYNC_BENCH_NETLINK_H
#define XFRMSYNC_BENCH_NETLINK_H

#include "peer.h"

#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
  SLOTS = 64,        // datagrams per recvmmsg
  SLOT_BYTES = 8192, // an event is a few hundred bytes
};

struct slots {
  struct mmsghdr headers[SLOTS];
  struct iovec iov[SLOTS];
  struct sockaddr_nl names[SLOTS];
  unsigned char data[SLOTS][SLOT_BYTES];
};

static inline int open_xfrm(unsigned groups, int receive_bytes) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_XFRM);
  struct sockaddr_nl me = {.nl_family = AF_NETLINK, .nl_groups = groups};
  if (fd < 0) die("socket");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_bytes, sizeof receive_bytes) < 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
  if (bind(fd, (struct sockaddr *)&me, sizeof me) < 0) die("bind");
  return fd;
}

static inline int granted_bytes(int fd) {
  int bytes = 0;
  socklen_t length = sizeof bytes;
  getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &length);
  return bytes;
}

static inline void arm_slots(struct slots *s) {
  for (int i = 0; i < SLOTS; i++) {
    s->iov[i] = (struct iovec){s->data[i], SLOT_BYTES};
    s->headers[i].msg_hdr = (struct msghdr){
        .msg_name = &s->names[i], .msg_namelen = sizeof s->names[i], .msg_iov = &s->iov[i], .msg_iovlen = 1};
  }
}

// As recvmmsg(2) without waiting; 0 when nothing is there.
static inline int receive_slots(int fd, struct slots *s) {
  for (int i = 0; i < SLOTS; i++) s->headers[i].msg_hdr.msg_namelen = sizeof s->names[i];
  int count = recvmmsg(fd, s->headers, SLOTS, MSG_DONTWAIT, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  return count;
}

#endif
