/*
 * How a process in C joins a pvlab lab as a domain: the messages to the host byte by byte, what
 * lies where in shared memory, and small helpers for all of it. C11 or C++17, libc, Linux, GCC or
 * Clang, little-endian; include it first. rings/host/src/proto.rs says the same in Rust.
 *
 * Not here: rings and devices. Take <xen/io/ring.h> and <xen/io/netif.h> of libxen-dev for them;
 * rings/host/examples/c has a netfront and a netback that do.
 *
 * Every helper that can fail returns 0 or more, or a negated errno. None exits, prints or starts a
 * thread. One struct pvlab belongs to one thread at a time.
 *
 *
 * 1. Messages
 *
 * DIR/host.sock, AF_UNIX, SOCK_SEQPACKET. A packet is one message of exactly 64 bytes, sixteen u32:
 *
 *   0        4        8        12                                                     63   octet
 * +--------+--------+--------+--------+-------- - - - --------+--------+--------+--------+
 * |  kind  |  seq   | status | arg[0] | arg[1]                 | arg[10]| arg[11]| arg[12]|
 * +--------+--------+--------+--------+-------- - - - --------+--------+--------+--------+
 *
 * An answer has the kind and seq of its request; status is 0 or an errno. Descriptors come beside
 * the answer (SCM_RIGHTS), in this order. The first message must be HELLO. Read each answer before
 * you ask again: a process that lets them pile up is cut off. A connection that ends without
 * GOODBYE is a death.
 *
 *   kind              request                              answer                      descriptors
 *   1 HELLO           version, domid or ANY, pool frames   domid, frames, first and    memory,
 *                     or 0, 0, arg[4..11] name padded      number of grant frames,     store
 *                     with NUL                             hold frame, console frame,
 *                                                          store frame, first of pool
 *   2 ALLOC_UNBOUND   domid that may bind                  port                        event page,
 *   3 BIND_INTERDOMAIN  domid, its port                    port                        own bell, other's
 *   4 CLOSE           port
 *   5 FOREIGN         domid of a frontend                  hold line, frames, first    its memory
 *                                                          and number of grant frames,
 *                                                          hold frame, life
 *   6 RELEASE         domid, hold line, life
 *   7 STORE                                                                            store
 *   8 STATS           1 front, 2 back, 3 other; worker     number of its block
 *   9 GOODBYE         exit status
 *  10 TRACE         for pvlab's own tracer; see                                    switch,
 *                   proto.rs                                                       connection
 *  11 OPEN_PORT     port the toolstack made for you    port, domid that may bind   event page,
 *                   (your console's)                                               own bell, other's
 *  12 INSPECT       1 ports, 2 grants; also before     bytes                       text
 *                   HELLO: who holds what
 *  13 RECORD        0 off, 1 on; only before HELLO     0 never, 1 off, 2 on,
 *                                                      3 over
 *
 * The store connection is a stream socket that speaks xenstore's wire protocol (<xen/io/xs_wire.h>)
 * and is bound to your domid; relative paths begin at /local/domain/<domid>. A life is a number that
 * the host gives to a domain when it registers, and to no other: who gives back a hold line of one
 * that is gone does not take it from another that has the same domid by then.
 */
#ifndef PVLAB_H
#define PVLAB_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "grant entries are read as one little-endian word here"
#endif

#define PVLAB_VERSION 3
#define PVLAB_ANY 0xffffffffu /* as a domid: the next free guest */
#define PVLAB_MAX_FDS 3
#define PVLAB_MESSAGE_BYTES 64
#define PVLAB_MESSAGE_ARGS 13
#define PVLAB_NAME_ARG 4 /* the name begins in this argument ... */
#define PVLAB_NAME_BYTES 32 /* ... and ends with a NUL within so many bytes */

#define PVLAB_HELLO 1
#define PVLAB_ALLOC_UNBOUND 2
#define PVLAB_BIND_INTERDOMAIN 3
#define PVLAB_CLOSE 4
#define PVLAB_FOREIGN 5
#define PVLAB_RELEASE 6
#define PVLAB_STORE 7
#define PVLAB_STATS 8
#define PVLAB_GOODBYE 9
#define PVLAB_TRACE 10
#define PVLAB_OPEN_PORT 11
#define PVLAB_INSPECT 12
#define PVLAB_RECORD 13

struct pvlab_message {
	uint32_t kind, seq, status, arg[PVLAB_MESSAGE_ARGS];
};

/*
 * 2. Memory
 *
 * A domain's memory is one sealed memfd of 4 KiB frames: the grant table, 512 entries a frame; one
 * frame of hold words; the console ring; the store ring; then the pool, which is yours. HELLO's
 * answer says which frame is what. A backend gets all of it from FOREIGN, and must go through the
 * grants: an entry is 8 bytes, Xen's version 1, read and swapped as one word.
 *
 *   0       2       4               7   octet
 * +-------+-------+---------------+
 * | flags | domid | frame         |   grefs 0 to 7 are reserved
 * +-------+-------+---------------+
 *
 * A mapping shows in the entry (reading, writing). A copy does not: whoever copies makes its hold
 * word odd before it looks at the entries and even after the last byte. Line n of 64 bytes in the
 * hold frame begins with the u32 of the copier that FOREIGN gave line n. A granter therefore
 * withdraws the entry first, and then waits until every word that was odd has changed. Only then
 * may page and gref be used for something else.
 */
#define PVLAB_PAGE 4096
#define PVLAB_GRANT_ENTRY_BYTES 8
#define PVLAB_GRANTS_PER_FRAME 512
#define PVLAB_GRANTS_RESERVED 8
#define PVLAB_GRANT_PERMIT 0x1u
#define PVLAB_GRANT_TYPE 0x3u
#define PVLAB_GRANT_READONLY 0x4u
#define PVLAB_GRANT_READING 0x8u
#define PVLAB_GRANT_WRITING 0x10u
#define PVLAB_HOLD_LINES 64
#define PVLAB_HOLD_STRIDE 64

/*
 * 3. Event channels
 *
 * The page of a channel has a line for each end: end A allocated the port, end B bound it.
 *
 *   0          4         8                     64
 * +---------+---------+--------+-- pad --+---------+---------+--------+-- pad --
 * | pending |  mask   | closed |         | pending |  mask   | closed |
 * +---------+---------+--------+---------+---------+---------+--------+---------
 *
 * u32 each, 0 or 1. The sender sets the other end's pending; each end owns its mask; the host sets
 * closed when the other end is gone. The other's bell is a non-blocking eventfd: write to it. Your own
 * is an epoll that hears it, edge-triggered: sleep on it, and take what woke you out with epoll_wait.
 * Clear pending before you look at the ring, never after.
 */
#define PVLAB_EVENT_STRIDE 64
#define PVLAB_EVENT_PENDING 0
#define PVLAB_EVENT_MASK 4
#define PVLAB_EVENT_CLOSED 8

/* Xen's ring.h asks its user for barriers; before this version of its interface, by other names. */
#ifndef __XEN_INTERFACE_VERSION__
#define __XEN_INTERFACE_VERSION__ 0x00030208
#endif
#ifndef xen_mb
#define xen_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define xen_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define xen_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#endif

/* The compiler's atomics, which are C11's, since those of stdatomic.h cannot be had for ring.h's
 * plain fields and in C++. */
static inline uint32_t pvlab_load32(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void pvlab_store32(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* A connection to the store. */
struct pvlab_xs {
	int fd;
	uint32_t req_id, tx_id;
	int fired; /* a watch event came while something else was waited for */
};

/* This process as a domain. */
struct pvlab {
	int host;
	uint32_t seq;
	uint16_t domid;
	uint8_t *memory;
	uint32_t frames, grant_first, grant_frames, hold, console, store_ring, pool_first;
	uint32_t next_frame; /* of the pool */
	uint32_t next_gref;
	uint8_t *given; /* for each gref, whether it is granted or on its way back */
	struct pvlab_xs xs;
};

/* One end of an event channel. */
struct pvlab_port {
	uint32_t port;
	uint8_t *page;
	uint32_t *own, *other; /* the lines of the two ends */
	int own_bell, other_bell;
};

/* The memory of a frontend that we serve. */
struct pvlab_foreign {
	uint16_t caller, remote;
	uint32_t line, life, frames, grants;
	int fd;
	uint8_t *memory;
	uint64_t *table;
	uint32_t *hold, seq;
};

static inline void pvlab_close_fds(const int *fds, int count)
{
	for (int i = 0; i < count; i++)
		close(fds[i]);
}

/* Asks the host and waits for its answer, which replaces the request; exactly `count` descriptors
 * must come with it. -EMFILE with a status of 0: this process may not have them, but what was asked for
 * is done. */
static inline int pvlab_call(struct pvlab *lab, struct pvlab_message *m, int *fds, int count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(PVLAB_MAX_FDS * sizeof(int))];
	} control;
	uint32_t kind = m->kind, seq = ++lab->seq;
	int came = 0, got[PVLAB_MAX_FDS];
	ssize_t n;

	m->seq = seq;
	do
		n = send(lab->host, m, sizeof *m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	struct iovec data = { m, sizeof *m };
	struct msghdr msg;
	memset(&msg, 0, sizeof msg);
	msg.msg_iov = &data;
	msg.msg_iovlen = 1;
	msg.msg_control = control.bytes;
	msg.msg_controllen = sizeof control.bytes;
	do
		n = recvmsg(lab->host, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		came = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		came = came > PVLAB_MAX_FDS ? PVLAB_MAX_FDS : came;
		memcpy(got, CMSG_DATA(c), (size_t)came * sizeof(int));
	}
	int err = n == 0 ? -EPIPE
		: n != (ssize_t)sizeof *m || m->kind != kind || m->seq != seq ? -EPROTO
		: m->status ? -(int)m->status
		: msg.msg_flags & MSG_CTRUNC ? -EMFILE : came != count ? -EPROTO : 0;
	if (err)
		pvlab_close_fds(got, came);
	else if (count)
		memcpy(fds, got, (size_t)count * sizeof(int));
	return err;
}

static inline void pvlab_request(struct pvlab_message *m, uint32_t kind, uint32_t a, uint32_t b)
{
	memset(m, 0, sizeof *m);
	m->kind = kind;
	m->arg[0] = a;
	m->arg[1] = b;
}

/* Leaves without a word, as a process that dies does. */
static inline void pvlab_disconnect(struct pvlab *lab)
{
	if (lab->memory)
		munmap(lab->memory, (size_t)lab->frames * PVLAB_PAGE);
	if (lab->host >= 0)
		close(lab->host);
	if (lab->xs.fd >= 0)
		close(lab->xs.fd);
	free(lab->given);
	memset(lab, 0, sizeof *lab);
	lab->host = lab->xs.fd = -1;
}

/* Becomes domain `domid` (or PVLAB_ANY) of the lab in `dir`, with a pool of the host's usual size;
 * `name` is for its listings. */
static inline int pvlab_connect(struct pvlab *lab, const char *dir, uint32_t domid, const char *name)
{
	struct pvlab_message m;
	struct sockaddr_un to;
	int fds[2], err;

	memset(lab, 0, sizeof *lab);
	lab->xs.fd = -1;
	memset(&to, 0, sizeof to);
	to.sun_family = AF_UNIX;
	if ((size_t)snprintf(to.sun_path, sizeof to.sun_path, "%s/host.sock", dir) >= sizeof to.sun_path)
		return -ENAMETOOLONG;
	lab->host = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (lab->host < 0)
		return -errno;
	if (connect(lab->host, (struct sockaddr *)&to, sizeof to) < 0) {
		err = -errno;
		goto out;
	}
	pvlab_request(&m, PVLAB_HELLO, PVLAB_VERSION, domid);
	snprintf((char *)&m.arg[PVLAB_NAME_ARG], PVLAB_NAME_BYTES, "%s", name);
	err = pvlab_call(lab, &m, fds, 2);
	if (err)
		goto out;
	lab->domid = (uint16_t)m.arg[0];
	lab->frames = m.arg[1];
	lab->grant_first = m.arg[2];
	lab->grant_frames = m.arg[3];
	lab->hold = m.arg[4];
	lab->console = m.arg[5];
	lab->store_ring = m.arg[6];
	lab->pool_first = lab->next_frame = m.arg[7];
	lab->next_gref = PVLAB_GRANTS_RESERVED;
	lab->xs.fd = fds[1];
	lab->given = (uint8_t *)calloc(lab->grant_frames, PVLAB_GRANTS_PER_FRAME);
	{
		void *at = mmap(NULL, (size_t)lab->frames * PVLAB_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
		close(fds[0]);
		if (at != MAP_FAILED && lab->given) {
			lab->memory = (uint8_t *)at;
			return 0;
		}
		err = -ENOMEM;
	}
out:
	pvlab_disconnect(lab);
	return err;
}

/* Leaves in good order. */
static inline int pvlab_goodbye(struct pvlab *lab, uint32_t status)
{
	struct pvlab_message m;
	pvlab_request(&m, PVLAB_GOODBYE, status, 0);
	int err = pvlab_call(lab, &m, NULL, 0);
	pvlab_disconnect(lab);
	return err;
}

static inline void *pvlab_frame(const struct pvlab *lab, uint32_t frame)
{
	return lab->memory + (size_t)frame * PVLAB_PAGE;
}

/* The first of `count` contiguous frames of the pool, zeroed by the host. They are never given
 * back: a driver that must, keeps its own list. */
static inline int64_t pvlab_alloc_frames(struct pvlab *lab, uint32_t count)
{
	if (count > lab->frames - lab->next_frame)
		return -ENOMEM;
	lab->next_frame += count;
	return lab->next_frame - count;
}

/* ---- Event channels ---------------------------------------------------------------------- */

static inline int pvlab_open_port(struct pvlab *lab, struct pvlab_message *m, struct pvlab_port *port)
{
	int fds[3], b = m->kind == PVLAB_BIND_INTERDOMAIN, ours = m->kind != PVLAB_OPEN_PORT;
	int err = pvlab_call(lab, m, fds, 3);
	void *at = err ? MAP_FAILED : mmap(NULL, PVLAB_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	if (at == MAP_FAILED) {
		if (!err)
			pvlab_close_fds(fds, 3);
		/* The port is there all the same. */
		if (ours && (!err || (err == -EMFILE && !m->status))) {
			pvlab_request(m, PVLAB_CLOSE, m->arg[0], 0);
			pvlab_call(lab, m, NULL, 0);
		}
		return err ? err : -ENOMEM;
	}
	close(fds[0]);
	port->port = m->arg[0];
	port->page = (uint8_t *)at;
	port->own = (uint32_t *)(void *)(port->page + (b ? PVLAB_EVENT_STRIDE : 0));
	port->other = (uint32_t *)(void *)(port->page + (b ? 0 : PVLAB_EVENT_STRIDE));
	port->own_bell = fds[1];
	port->other_bell = fds[2];
	return 0;
}

/* A port that domain `remote` may bind. */
static inline int pvlab_alloc_unbound(struct pvlab *lab, uint16_t remote, struct pvlab_port *port)
{
	struct pvlab_message m;
	pvlab_request(&m, PVLAB_ALLOC_UNBOUND, remote, 0);
	return pvlab_open_port(lab, &m, port);
}

/* Your end of a port that the toolstack made before you ran: the console's, whose number is in
 * console/port. The console's ring is the frame that HELLO's answer names, granted as gref 0. */
static inline int pvlab_toolstack_port(struct pvlab *lab, uint32_t number, struct pvlab_port *port)
{
	struct pvlab_message m;
	pvlab_request(&m, PVLAB_OPEN_PORT, number, 0);
	return pvlab_open_port(lab, &m, port);
}

/* A port joined to `remote_port` of `remote`. It begins pending, as in Xen. */
static inline int pvlab_bind_interdomain(struct pvlab *lab, uint16_t remote, uint32_t remote_port,
					 struct pvlab_port *port)
{
	struct pvlab_message m;
	pvlab_request(&m, PVLAB_BIND_INTERDOMAIN, remote, remote_port);
	return pvlab_open_port(lab, &m, port);
}

static inline int pvlab_close(struct pvlab *lab, struct pvlab_port *port)
{
	struct pvlab_message m;
	pvlab_request(&m, PVLAB_CLOSE, port->port, 0);
	munmap(port->page, PVLAB_PAGE);
	close(port->own_bell);
	close(port->other_bell);
	memset(port, 0, sizeof *port);
	port->own_bell = port->other_bell = -1;
	return pvlab_call(lab, &m, NULL, 0);
}

/* Sends an event: a system call only if the other end sleeps and has none pending. */
static inline void pvlab_send(struct pvlab_port *port)
{
	static const uint64_t one = 1;
	if (__atomic_exchange_n(&port->other[PVLAB_EVENT_PENDING / 4], 1u, __ATOMIC_ACQ_REL))
		return;
	xen_mb(); /* with pvlab_unmask: we see the port unmasked, or its owner sees it pending */
	if (pvlab_load32(&port->other[PVLAB_EVENT_MASK / 4]))
		return;
	ssize_t n = write(port->other_bell, &one, sizeof one);
	(void)n;
}

static inline void pvlab_mask(struct pvlab_port *port)
{
	pvlab_store32(&port->own[PVLAB_EVENT_MASK / 4], 1);
}

/* From now on we are woken. Non-zero if an event is pending: then look at the ring, do not sleep. */
static inline int pvlab_unmask(struct pvlab_port *port)
{
	pvlab_store32(&port->own[PVLAB_EVENT_MASK / 4], 0);
	xen_mb(); /* with pvlab_send */
	return pvlab_load32(&port->own[PVLAB_EVENT_PENDING / 4]) != 0;
}

/* Before looking at the ring. Says whether an event was pending. */
static inline int pvlab_clear(struct pvlab_port *port)
{
	return __atomic_exchange_n(&port->own[PVLAB_EVENT_PENDING / 4], 0u, __ATOMIC_ACQ_REL) != 0;
}

/* Whether the other end closed the channel or died. */
static inline int pvlab_closed(const struct pvlab_port *port)
{
	return pvlab_load32(&port->own[PVLAB_EVENT_CLOSED / 4]) != 0;
}

/* Sleeps until a bell of up to seven unmasked ports rings, or `also` (the store's descriptor, or
 * -1) is readable. 0 when the time is up. */
static inline int pvlab_wait(struct pvlab_port *ports, int count, int also, int timeout_ms)
{
	struct pollfd fds[8];
	struct epoll_event rung[2];
	if (count < 0 || count > 7)
		return -EINVAL;
	for (int i = 0; i <= count; i++) {
		fds[i].fd = i < count ? ports[i].own_bell : also;
		fds[i].events = POLLIN;
		fds[i].revents = 0;
	}
	int n = poll(fds, (nfds_t)count + 1, timeout_ms);
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	for (int i = 0; i < count; i++)
		if (fds[i].revents && epoll_wait(fds[i].fd, rung, 2, 0) < 0 && errno != EINTR)
			return -errno;
	return n;
}

/* ---- Grants: the granter ----------------------------------------------------------------- */

static inline uint64_t *pvlab_entry(const struct pvlab *lab, uint32_t gref)
{
	return (uint64_t *)pvlab_frame(lab, lab->grant_first) + gref;
}

/* Lets `domid` read, and unless `readonly` write, one of our frames. The gref. */
static inline int64_t pvlab_grant_access(struct pvlab *lab, uint16_t domid, uint32_t frame, int readonly)
{
	uint32_t grefs = lab->grant_frames * PVLAB_GRANTS_PER_FRAME;
	for (uint32_t looked = 0; looked < grefs; looked++) {
		uint32_t gref = lab->next_gref++;
		if (lab->next_gref >= grefs)
			lab->next_gref = PVLAB_GRANTS_RESERVED;
		if (lab->given[gref])
			continue;
		uint64_t flags = PVLAB_GRANT_PERMIT | (readonly ? PVLAB_GRANT_READONLY : 0);
		lab->given[gref] = 1;
		/* Xen's order is domid and frame, barrier, flags. One word has them at once. */
		__atomic_store_n(pvlab_entry(lab, gref), flags | (uint64_t)domid << 16 | (uint64_t)frame << 32,
				 __ATOMIC_RELEASE);
		return gref;
	}
	return -ENOSPC;
}

/* Takes access back. -EBUSY while the page is mapped, or a copy that may have seen the grant runs:
 * then neither page nor gref may be reused yet; ask again. */
static inline int pvlab_end_access(struct pvlab *lab, uint32_t gref)
{
	uint32_t seen[PVLAB_HOLD_LINES];
	uint8_t *holds = (uint8_t *)pvlab_frame(lab, lab->hold);
	if (gref >= lab->grant_frames * PVLAB_GRANTS_PER_FRAME || !lab->given[gref])
		return -EINVAL;
	uint64_t *entry = pvlab_entry(lab, gref), word = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
	/* A few tries: one that keeps flipping bits must not keep us here. 0: withdrawn before. */
	for (int tries = 0; word; tries++) {
		if (tries == 5 || word & (PVLAB_GRANT_READING | PVLAB_GRANT_WRITING))
			return -EBUSY;
		if (__atomic_compare_exchange_n(entry, &word, 0, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			break;
	}
	xen_mb(); /* with pvlab_hold_begin: we see the hold, or the copier sees the entry withdrawn */
	for (int i = 0; i < PVLAB_HOLD_LINES; i++)
		seen[i] = pvlab_load32((uint32_t *)(void *)(holds + i * PVLAB_HOLD_STRIDE));
	for (int looks = 0; looks < 1000; looks++) {
		int running = 0;
		for (int i = 0; i < PVLAB_HOLD_LINES; i++)
			running |= seen[i] & 1
				&& pvlab_load32((uint32_t *)(void *)(holds + i * PVLAB_HOLD_STRIDE)) == seen[i];
		if (!running) {
			lab->given[gref] = 0;
			return 0;
		}
		sched_yield();
	}
	return -EBUSY;
}

/* ---- Grants: the domain that was granted access ------------------------------------------ */

/* Gets the memory of `remote`. -EPERM unless the toolstack made us the backend of one of its
 * devices. */
static inline int pvlab_foreign(struct pvlab *lab, uint16_t remote, struct pvlab_foreign *f)
{
	struct pvlab_message m;
	pvlab_request(&m, PVLAB_FOREIGN, remote, 0);
	int err = pvlab_call(lab, &m, &f->fd, 1);
	if (err && (err != -EMFILE || m.status))
		return err;
	f->caller = lab->domid;
	f->remote = remote;
	f->line = m.arg[0];
	f->life = m.arg[5];
	f->frames = m.arg[1];
	f->grants = m.arg[3] * PVLAB_GRANTS_PER_FRAME;
	void *at = err ? MAP_FAILED
		: mmap(NULL, (size_t)f->frames * PVLAB_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	if (at == MAP_FAILED) {
		if (!err)
			close(f->fd);
		/* The hold line is ours all the same. */
		pvlab_request(&m, PVLAB_RELEASE, f->remote, f->line);
		m.arg[2] = f->life;
		pvlab_call(lab, &m, NULL, 0);
		return err ? err : -ENOMEM;
	}
	f->memory = (uint8_t *)at;
	f->table = (uint64_t *)(void *)(f->memory + (size_t)m.arg[2] * PVLAB_PAGE);
	f->hold = (uint32_t *)(void *)(f->memory + (size_t)m.arg[4] * PVLAB_PAGE + f->line * PVLAB_HOLD_STRIDE);
	/* Go on where a former holder of the line left off; one that died copies no more. */
	f->seq = pvlab_load32(f->hold);
	f->seq += f->seq & 1;
	pvlab_store32(f->hold, f->seq);
	return 0;
}

/* Gives it back. Nothing of it may be mapped any more. */
static inline int pvlab_release(struct pvlab *lab, struct pvlab_foreign *f)
{
	struct pvlab_message m;
	pvlab_request(&m, PVLAB_RELEASE, f->remote, f->line);
	m.arg[2] = f->life;
	munmap(f->memory, (size_t)f->frames * PVLAB_PAGE);
	close(f->fd);
	return pvlab_call(lab, &m, NULL, 0);
}

/* The frame an entry leads the caller to, or why it does not. */
static inline int64_t pvlab_check(const struct pvlab_foreign *f, uint64_t word, int write)
{
	uint32_t frame = (uint32_t)(word >> 32);
	if ((word & PVLAB_GRANT_TYPE) != PVLAB_GRANT_PERMIT || (uint16_t)(word >> 16) != f->caller
	    || (write && word & PVLAB_GRANT_READONLY))
		return -EACCES;
	return frame < f->frames ? (int64_t)frame : -EFAULT;
}

/* Maps a granted page; the entry shows it. Map a gref once at a time. */
static inline int pvlab_map(struct pvlab_foreign *f, uint32_t gref, int write, void **page)
{
	uint64_t bits = PVLAB_GRANT_READING | (write ? PVLAB_GRANT_WRITING : 0);
	if (gref >= f->grants)
		return -EINVAL;
	uint64_t word = __atomic_load_n(&f->table[gref], __ATOMIC_ACQUIRE);
	for (int tries = 0; tries < 5; tries++) {
		int64_t frame = pvlab_check(f, word, write);
		if (frame < 0)
			return (int)frame;
		if (!__atomic_compare_exchange_n(&f->table[gref], &word, word | bits, 0, __ATOMIC_ACQ_REL,
						 __ATOMIC_ACQUIRE))
			continue;
		*page = mmap(NULL, PVLAB_PAGE, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, f->fd,
			     (off_t)frame * PVLAB_PAGE);
		if (*page != MAP_FAILED)
			return 0;
		__atomic_and_fetch(&f->table[gref], ~bits, __ATOMIC_RELEASE);
		return -ENOMEM;
	}
	return -EAGAIN;
}

static inline void pvlab_unmap(struct pvlab_foreign *f, uint32_t gref, void *page)
{
	munmap(page, PVLAB_PAGE);
	__atomic_and_fetch(&f->table[gref], ~(uint64_t)(PVLAB_GRANT_READING | PVLAB_GRANT_WRITING), __ATOMIC_RELEASE);
}

/* Between these two, what a grant that was seen valid leads to stays what it is. */
static inline void pvlab_hold_begin(struct pvlab_foreign *f)
{
	f->seq = (f->seq + 1) | 1;
	pvlab_store32(f->hold, f->seq);
	xen_mb(); /* with pvlab_end_access */
}

static inline void pvlab_hold_end(struct pvlab_foreign *f)
{
	f->seq++;
	pvlab_store32(f->hold, f->seq);
}

/* Copies between a granted page and private memory, within a hold: into the page if `write`. What
 * was copied out may be torn: look at the copy only. */
static inline int pvlab_copy(struct pvlab_foreign *f, uint32_t gref, uint32_t offset, uint32_t len,
			     void *local, int write)
{
	if (offset > PVLAB_PAGE || len > PVLAB_PAGE - offset || gref >= f->grants)
		return -EINVAL;
	int64_t frame = pvlab_check(f, __atomic_load_n(&f->table[gref], __ATOMIC_ACQUIRE), write);
	if (frame < 0)
		return (int)frame;
	uint8_t *at = f->memory + (size_t)frame * PVLAB_PAGE + offset;
	memcpy(write ? (void *)at : local, write ? local : (void *)at, len);
	__asm__ __volatile__("" ::: "memory");
	return 0;
}

/* ---- The store --------------------------------------------------------------------------- */

#define PVLAB_XS_READ 2
#define PVLAB_XS_WATCH 4
#define PVLAB_XS_TRANSACTION_START 6
#define PVLAB_XS_TRANSACTION_END 7
#define PVLAB_XS_WRITE 11
#define PVLAB_XS_WATCH_EVENT 15
#define PVLAB_XS_ERROR 16
#define PVLAB_XS_PAYLOAD_MAX 4096

static inline int pvlab_xs_errno(const char *name)
{
	static const struct { const char *name; int number; } all[] = {
		{ "EINVAL", EINVAL }, { "EACCES", EACCES }, { "EEXIST", EEXIST }, { "EISDIR", EISDIR },
		{ "ENOENT", ENOENT }, { "ENOMEM", ENOMEM }, { "ENOSPC", ENOSPC }, { "EIO", EIO },
		{ "ENOTEMPTY", ENOTEMPTY }, { "ENOSYS", ENOSYS }, { "EROFS", EROFS }, { "EBUSY", EBUSY },
		{ "EAGAIN", EAGAIN }, { "EISCONN", EISCONN }, { "E2BIG", E2BIG }, { "EPERM", EPERM },
	};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		if (!strcmp(name, all[i].name))
			return -all[i].number;
	return -EPROTO;
}

/* Receives one message: its type, and its payload with a NUL behind it. */
static inline int pvlab_xs_receive(struct pvlab_xs *xs, char payload[PVLAB_XS_PAYLOAD_MAX + 1], uint32_t *len)
{
	uint32_t header[4]; /* type, req_id, tx_id, len */
	ssize_t n = recv(xs->fd, header, sizeof header, MSG_WAITALL);
	if (n != (ssize_t)sizeof header)
		return n < 0 ? -errno : -EPIPE;
	if (header[3] > PVLAB_XS_PAYLOAD_MAX)
		return -EPROTO;
	n = header[3] ? recv(xs->fd, payload, header[3], MSG_WAITALL) : 0;
	if (n != (ssize_t)header[3])
		return n < 0 ? -errno : -EPIPE;
	payload[n] = '\0';
	*len = header[3];
	return (int)header[0];
}

/* One request and its reply, of which at most `size` bytes are kept, with a NUL behind. */
static inline int pvlab_xs_call(struct pvlab_xs *xs, uint32_t type, uint32_t tx, const char *body,
				size_t len, char *reply, size_t size)
{
	char payload[PVLAB_XS_PAYLOAD_MAX + 1], out[16 + PVLAB_XS_PAYLOAD_MAX];
	uint32_t header[4] = { type, ++xs->req_id, tx, (uint32_t)len }, came = 0;
	if (len > PVLAB_XS_PAYLOAD_MAX)
		return -E2BIG;
	memcpy(out, header, 16);
	memcpy(out + 16, body, len);
	if (send(xs->fd, out, 16 + len, MSG_NOSIGNAL) != (ssize_t)(16 + len))
		return errno ? -errno : -EPIPE;
	for (;;) {
		int got = pvlab_xs_receive(xs, payload, &came);
		if (got == PVLAB_XS_WATCH_EVENT) {
			xs->fired = 1;
			continue;
		}
		if (got < 0)
			return got;
		if (got == PVLAB_XS_ERROR)
			return pvlab_xs_errno(payload);
		if ((uint32_t)got != type)
			return -EPROTO;
		if (!reply)
			return 0;
		if (came >= size)
			return -E2BIG;
		memcpy(reply, payload, came + 1);
		return (int)came;
	}
}

/* The value of DIR/KEY, with a NUL behind it; its length. */
static inline int pvlab_xs_read(struct pvlab_xs *xs, const char *dir, const char *key, char *value, size_t size)
{
	char path[1024];
	int n = snprintf(path, sizeof path, "%s/%s", dir, key);
	if (n >= (int)sizeof path)
		return -ENAMETOOLONG;
	return pvlab_xs_call(xs, PVLAB_XS_READ, xs->tx_id, path, (size_t)n + 1, value, size);
}

static inline int pvlab_xs_read_u32(struct pvlab_xs *xs, const char *dir, const char *key, uint32_t *number)
{
	char text[16], *end;
	int n = pvlab_xs_read(xs, dir, key, text, sizeof text);
	if (n < 0)
		return n;
	unsigned long long value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || value > UINT32_MAX)
		return -EINVAL;
	*number = (uint32_t)value;
	return 0;
}

static inline int pvlab_xs_write(struct pvlab_xs *xs, const char *dir, const char *key, const char *value)
{
	char body[1024 + 2048];
	int n = snprintf(body, sizeof body, "%s/%s%c%s", dir, key, 0, value);
	if (n >= (int)sizeof body)
		return -E2BIG;
	return pvlab_xs_call(xs, PVLAB_XS_WRITE, xs->tx_id, body, (size_t)n, NULL, 0);
}

static inline int pvlab_xs_write_u32(struct pvlab_xs *xs, const char *dir, const char *key, uint32_t number)
{
	char text[16];
	snprintf(text, sizeof text, "%u", (unsigned)number);
	return pvlab_xs_write(xs, dir, key, text);
}

/* What is read and written from here to pvlab_xs_commit becomes visible at once or not at all. */
static inline int pvlab_xs_begin(struct pvlab_xs *xs)
{
	char id[16];
	int n = pvlab_xs_call(xs, PVLAB_XS_TRANSACTION_START, 0, "", 1, id, sizeof id);
	if (n < 0)
		return n;
	xs->tx_id = (uint32_t)strtoul(id, NULL, 10);
	return 0;
}

/* -EAGAIN: somebody else changed what you read or wrote; do all of it again. */
static inline int pvlab_xs_commit(struct pvlab_xs *xs)
{
	uint32_t tx = xs->tx_id;
	xs->tx_id = 0;
	return pvlab_xs_call(xs, PVLAB_XS_TRANSACTION_END, tx, "T", 2, NULL, 0);
}

/* Watches DIR/KEY. Events are hints: what changed is to be looked up. The first comes at once. */
static inline int pvlab_xs_watch(struct pvlab_xs *xs, const char *dir, const char *key)
{
	char body[1024];
	int n = snprintf(body, sizeof body, "%s/%s%cpvlab", dir, key, 0);
	if (n >= (int)sizeof body)
		return -ENAMETOOLONG;
	int err = pvlab_xs_call(xs, PVLAB_XS_WATCH, 0, body, (size_t)n + 1, NULL, 0);
	return err == -EEXIST ? 0 : err;
}

/* Waits for a watch event: 1, or 0 when the time is up. */
static inline int pvlab_xs_wait(struct pvlab_xs *xs, int timeout_ms)
{
	char payload[PVLAB_XS_PAYLOAD_MAX + 1];
	struct pollfd fd = { xs->fd, POLLIN, 0 };
	uint32_t len;
	int fired = xs->fired;
	xs->fired = 0;
	if (fired)
		return 1;
	int n = poll(&fd, 1, timeout_ms);
	if (n <= 0)
		return n == 0 || errno == EINTR ? 0 : -errno;
	n = pvlab_xs_receive(xs, payload, &len);
	return n < 0 ? n : n == PVLAB_XS_WATCH_EVENT ? 1 : -EPROTO;
}

/* XenbusState: 1 Initialising, 2 InitWait, 3 Initialised, 4 Connected, 5 Closing, 6 Closed; 0 if
 * there is none, or none that we may read. */
static inline int pvlab_xs_state(struct pvlab_xs *xs, const char *dir)
{
	uint32_t state = 0;
	int err = pvlab_xs_read_u32(xs, dir, "state", &state);
	if (err == -ENOENT || err == -EACCES || err == -EINVAL || state > 8)
		return 0;
	return err ? err : (int)state;
}

/* Goes to a state. A device that the toolstack has removed must not come back: then nothing. */
static inline int pvlab_xs_switch(struct pvlab_xs *xs, const char *dir, int state)
{
	int now = pvlab_xs_state(xs, dir);
	return now <= 0 || now == state ? now < 0 ? now : 0 : pvlab_xs_write_u32(xs, dir, "state", (uint32_t)state);
}

/* Waits until the device in `dir` is in one of `states` (bit n stands for state n); which one. */
static inline int pvlab_xs_wait_state(struct pvlab_xs *xs, const char *dir, unsigned states, int timeout_ms)
{
	struct timespec now, begin;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	int n = pvlab_xs_watch(xs, dir, "state");
	while (n >= 0) {
		n = pvlab_xs_state(xs, dir);
		if (n < 0 || states & 1u << n)
			return n;
		clock_gettime(CLOCK_MONOTONIC, &now);
		long long past = (now.tv_sec - begin.tv_sec) * 1000LL + (now.tv_nsec - begin.tv_nsec) / 1000000;
		if (past >= timeout_ms)
			return -ETIMEDOUT;
		n = pvlab_xs_wait(xs, (int)(timeout_ms - past));
	}
	return n;
}

#endif /* PVLAB_H */
