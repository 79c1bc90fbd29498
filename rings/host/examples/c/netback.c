/*
 * A netback in C: is domain 0 of a lab, serves the vif of one guest, and checks that the frames are
 * numbered one after the other at byte 42, as `pvlab netfront --mode pktgen` and netfront.c number
 * them. With -r it also sends each one back, its two Ethernet addresses exchanged.
 *
 *   cc -std=c11 -O2 -I rings/host/include -o netback rings/host/examples/c/netback.c
 *   ./netback [-f GUEST] [-n FRAMES] [-r] DIR          -n: this many must come, or the exit is 1
 *
 * It believes nothing that the guest writes: slots are copied out once, judged, then used; pages are
 * reached through the grant entries alone. A lie ends the process. Not here: offloads, several queues,
 * several guests, more than one vif in a lifetime.
 */
#include "pvlab.h"
#include <stdbool.h>
#include <xen/io/ring.h>
#include <xen/io/netif.h>
#include <xen/io/xenbus.h>

enum { MAX_FRAME = 65535, NUMBER_AT = 42, ETH_HLEN = 14, STEP_MS = 10000, LOOK_MS = 500 };

static struct pvlab lab;
static struct pvlab_foreign guest;
static char front[256], back[64], error[160];
static uint32_t domid = 1;
static bool reflect;

static struct pvlab_port ports[2]; /* tx, rx; or the first for both */
static int port_count = 2;

static struct netif_tx_back_ring tx;
static struct netif_rx_back_ring rx;
static uint32_t ring_gref[2];
static void *ring_page[2];

static uint64_t frames, bytes, sent_back;
static uint8_t frame[MAX_FRAME];
static size_t held; /* length of a frame that waits for buffers of the guest */

#define TRY(call) do { int64_t e_ = (call); if (e_ < 0) { snprintf(error, sizeof error, "%s: %s", #call, strerror((int)-e_)); return -1; } } while (0)
#define LIE(...) do { snprintf(error, sizeof error, __VA_ARGS__); return -1; } while (0)

/* ---- Frames from the guest --------------------------------------------------------------- */

/* Takes the slots of one frame off the ring, as private copies. Their number, 0 if there is none;
 * the first slot's size, which was the whole frame's, is its own afterwards. */
static int take_slots(struct netif_tx_request *slot, size_t *len)
{
	RING_IDX prod = pvlab_load32(&tx.sring->req_prod);
	unsigned size;
	int count = 0;

	if (RING_REQUEST_PROD_OVERFLOW(&tx, prod))
		LIE("req_prod of the tx ring is %#x, %#x is answered", prod, tx.rsp_prod_pvt);
	if (tx.req_cons == prod)
		return 0;
	do {
		if (tx.req_cons == prod)
			LIE("a frame is cut off behind %d slots", count);
		if (count == XEN_NETIF_NR_SLOTS_MIN)
			LIE("a frame has more than %d slots", count);
		RING_COPY_REQUEST(&tx, tx.req_cons, &slot[count]);
		tx.req_cons++;
		if (slot[count].flags & NETTXF_extra_info)
			LIE("extra info, which nobody offered");
	} while (slot[count++].flags & NETTXF_more_data);

	*len = size = slot[0].size;
	for (int i = 1; i < count; i++) {
		if (slot[i].size > size)
			LIE("slots are longer than their frame of %zu bytes", *len);
		size -= slot[i].size;
	}
	slot[0].size = (uint16_t)size;
	for (int i = 0; i < count; i++)
		if (slot[i].offset + slot[i].size > PVLAB_PAGE)
			LIE("%u bytes at %u cross the page", slot[i].size, slot[i].offset);
	if (*len < NUMBER_AT + 8)
		LIE("a frame of %zu bytes has no number", *len);
	return count;
}

/* Takes one frame out of the guest's pages and answers its slots: 1, or 0 if there is none. */
static int take_frame(size_t *len)
{
	struct netif_tx_request slot[XEN_NETIF_NR_SLOTS_MIN];
	int count = take_slots(slot, len), failed = 0;
	size_t at = 0;
	uint64_t number;

	if (count <= 0)
		return count;
	pvlab_hold_begin(&guest);
	for (int i = 0; i < count && !failed; i++) {
		/* A slot without a byte may name any grant: it is not looked at. */
		if (slot[i].size)
			failed = pvlab_copy(&guest, slot[i].gref, slot[i].offset, slot[i].size, frame + at, false);
		at += slot[i].size;
	}
	pvlab_hold_end(&guest);
	for (int i = 0; i < count; i++) {
		struct netif_tx_response *rsp = RING_GET_RESPONSE(&tx, tx.rsp_prod_pvt++);
		rsp->id = slot[i].id;
		rsp->status = failed ? NETIF_RSP_ERROR : NETIF_RSP_OKAY;
	}
	if (failed)
		LIE("a slot of frame %llu: %s", (unsigned long long)frames, strerror(-failed));
	memcpy(&number, frame + NUMBER_AT, sizeof number);
	if (number != frames)
		LIE("frame %llu says it is %llu", (unsigned long long)frames, (unsigned long long)number);
	frames++;
	bytes += *len;
	return 1;
}

/* ---- Frames to the guest ----------------------------------------------------------------- */

/* Puts the frame at hand into buffers of the guest: 1, or 0 if there are too few. The answer to a
 * request goes into the request's own slot. */
static int give_frame(size_t len)
{
	RING_IDX prod = pvlab_load32(&rx.sring->req_prod);
	RING_IDX needed = (RING_IDX)((len + PVLAB_PAGE - 1) / PVLAB_PAGE);
	int failed = 0;

	if (RING_REQUEST_PROD_OVERFLOW(&rx, prod))
		LIE("req_prod of the rx ring is %#x, %#x is answered", prod, rx.rsp_prod_pvt);
	if (prod - rx.req_cons < needed)
		return 0;
	pvlab_hold_begin(&guest);
	for (size_t at = 0; at < len; at += PVLAB_PAGE) {
		struct netif_rx_request req;
		uint32_t size = (uint32_t)(len - at < PVLAB_PAGE ? len - at : PVLAB_PAGE);
		RING_COPY_REQUEST(&rx, rx.req_cons, &req);
		rx.req_cons++;
		int err = pvlab_copy(&guest, req.gref, 0, size, frame + at, true);
		failed = failed ? failed : err;
		struct netif_rx_response *rsp = RING_GET_RESPONSE(&rx, rx.rsp_prod_pvt++);
		rsp->id = req.id;
		rsp->offset = 0;
		rsp->flags = at + size < len ? NETRXF_more_data : 0;
		rsp->status = err ? NETIF_RSP_ERROR : (int16_t)size;
	}
	pvlab_hold_end(&guest);
	if (failed)
		LIE("a buffer of the guest: %s", strerror(-failed));
	sent_back++;
	return 1;
}

static void exchange_addresses(void)
{
	uint8_t to[6];
	memcpy(to, frame, 6);
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, to, 6);
}

/* One turn: up to 64 frames, answers published once for each ring. Non-zero if anything was done,
 * -1 for a lie. */
static int turn(void)
{
	RING_IDX tx_before = tx.rsp_prod_pvt, rx_before = rx.rsp_prod_pvt;
	int outcome = 1, notify;

	for (int budget = 64; budget > 0 && outcome > 0; budget--) {
		size_t len = held;
		if (!len && (outcome = take_frame(&len)) > 0 && reflect)
			exchange_addresses();
		if (outcome > 0 && reflect) {
			outcome = give_frame(len);
			held = outcome == 0 ? len : 0;
		}
	}
	if (rx.rsp_prod_pvt != rx_before) {
		RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&rx, notify);
		if (notify)
			pvlab_send(&ports[port_count - 1]);
	}
	if (tx.rsp_prod_pvt != tx_before) {
		RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&tx, notify);
		if (notify)
			pvlab_send(&ports[0]);
	}
	return outcome < 0 ? -1 : tx.rsp_prod_pvt != tx_before || rx.rsp_prod_pvt != rx_before;
}

/* Nothing to do: asks for an event from the ring that we wait for, and sleeps. */
static int sleep_on_ports(void)
{
	int pending = 0, work = 0;

	for (int i = 0; i < port_count; i++)
		pending |= pvlab_unmask(&ports[i]);
	if (held) {
		/* As many buffers as the frame needs, not just the next. */
		RING_IDX last = rx.req_cons + (RING_IDX)((held + PVLAB_PAGE - 1) / PVLAB_PAGE);
		rx.sring->req_event = last;
		xen_mb();
		work = (int32_t)(pvlab_load32(&rx.sring->req_prod) - last) >= 0;
	} else {
		RING_FINAL_CHECK_FOR_REQUESTS(&tx, work);
	}
	if (!pending && !work)
		TRY(pvlab_wait(ports, port_count, lab.xs.fd, LOOK_MS));
	for (int i = 0; i < port_count; i++) {
		pvlab_mask(&ports[i]);
		pvlab_clear(&ports[i]);
	}
	return 0;
}

/* ---- The device -------------------------------------------------------------------------- */

/* Waits for the toolstack to make the vif, offers what we have, waits for the guest. */
static int meet_guest(void)
{
	static const struct { const char *key, *value; } offers[] = {
		{ "feature-sg", "1" }, { "feature-gso-tcpv4", "0" }, { "feature-gso-tcpv6", "0" },
		{ "feature-rx-copy", "1" }, { "feature-rx-flip", "0" }, { "feature-split-event-channels", "1" },
		{ "multi-queue-max-queues", "1" }, { "feature-ctrl-ring", "0" },
	};
	struct pvlab_xs *xs = &lab.xs;
	char hotplug[16];
	int err;

	snprintf(back, sizeof back, "backend/vif/%u/0", domid);
	TRY(pvlab_xs_watch(xs, back, "frontend"));
	while ((err = pvlab_xs_read(xs, back, "frontend", front, sizeof front)) == -ENOENT)
		TRY(pvlab_xs_wait(xs, -1));
	TRY(err);
	do {
		TRY(pvlab_xs_begin(xs));
		for (size_t i = 0; i < sizeof offers / sizeof offers[0]; i++)
			TRY(pvlab_xs_write(xs, back, offers[i].key, offers[i].value));
		err = pvlab_xs_commit(xs);
	} while (err == -EAGAIN);
	TRY(err);
	TRY(pvlab_xs_switch(xs, back, XenbusStateInitWait));
	TRY(pvlab_xs_wait_state(xs, front, 1u << XenbusStateInitialised | 1u << XenbusStateConnected, STEP_MS));
	TRY(pvlab_xs_watch(xs, back, "hotplug-status"));
	while ((err = pvlab_xs_read(xs, back, "hotplug-status", hotplug, sizeof hotplug)) >= 0
	       && strcmp(hotplug, "connected"))
		TRY(pvlab_xs_wait(xs, STEP_MS));
	TRY(err);
	return 0;
}

/* Maps the guest's rings and attaches where they are, binds its ports. */
static int connect_vif(void)
{
	static const char *const keys[] = { "tx-ring-ref", "rx-ring-ref" };
	struct pvlab_xs *xs = &lab.xs;
	uint32_t port[2], copies = 0;

	TRY(pvlab_xs_read_u32(xs, front, "request-rx-copy", &copies));
	if (!copies)
		LIE("the guest does not want its frames copied");
	TRY(pvlab_foreign(&lab, (uint16_t)domid, &guest));
	for (int i = 0; i < 2; i++) {
		TRY(pvlab_xs_read_u32(xs, front, keys[i], &ring_gref[i]));
		TRY(pvlab_map(&guest, ring_gref[i], true, &ring_page[i]));
	}
	struct netif_tx_sring *tx_page = ring_page[0];
	struct netif_rx_sring *rx_page = ring_page[1];
	RING_IDX tx_base = pvlab_load32(&tx_page->rsp_prod), rx_base = pvlab_load32(&rx_page->rsp_prod);
	BACK_RING_ATTACH(&tx, tx_page, tx_base, PVLAB_PAGE);
	BACK_RING_ATTACH(&rx, rx_page, rx_base, PVLAB_PAGE);

	if (pvlab_xs_read_u32(xs, front, "event-channel-tx", &port[0]) < 0
	    || pvlab_xs_read_u32(xs, front, "event-channel-rx", &port[1]) < 0) {
		port_count = 1;
		TRY(pvlab_xs_read_u32(xs, front, "event-channel", &port[0]));
	}
	for (int i = 0; i < port_count; i++)
		TRY(pvlab_bind_interdomain(&lab, (uint16_t)domid, port[i], &ports[i]));
	TRY(pvlab_xs_switch(xs, back, XenbusStateConnected));
	return 0;
}

/* Serves until the guest is no longer Connected. */
static int serve(void)
{
	for (unsigned turns = 1;; turns++) {
		int work = turn();
		if (work < 0 || (!work && sleep_on_ports() < 0))
			return -1;
		if (work && turns % 256)
			continue;
		int fired;
		while ((fired = pvlab_xs_wait(&lab.xs, 0)) > 0)
			;
		TRY(fired);
		int state = pvlab_xs_state(&lab.xs, front);
		TRY(state);
		if (!work && state != XenbusStateConnected)
			return 0;
	}
}

/* Lets go of everything of the guest's, and says so. */
static int leave(void)
{
	for (int i = 0; i < port_count; i++)
		if (ports[i].page)
			TRY(pvlab_close(&lab, &ports[i]));
	for (int i = 0; i < 2; i++)
		if (ring_page[i])
			pvlab_unmap(&guest, ring_gref[i], ring_page[i]);
	if (guest.memory)
		TRY(pvlab_release(&lab, &guest));
	TRY(pvlab_xs_switch(&lab.xs, back, XenbusStateClosing));
	TRY(pvlab_xs_wait_state(&lab.xs, front, 1u << XenbusStateUnknown | 1u << XenbusStateClosed, STEP_MS));
	TRY(pvlab_xs_switch(&lab.xs, back, XenbusStateClosed));
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t expected = UINT64_MAX;
	bool wrong = false;
	int option;

	while ((option = getopt(argc, argv, "f:n:r")) != -1) {
		if (option == 'f')
			domid = (uint32_t)strtoul(optarg, NULL, 0);
		else if (option == 'n')
			expected = strtoull(optarg, NULL, 0);
		else if (option == 'r')
			reflect = true;
		else
			wrong = true;
	}
	if (wrong || optind + 1 != argc) {
		fprintf(stderr, "usage: netback [-f GUEST] [-n FRAMES] [-r] DIR\n");
		return 2;
	}
	int err = pvlab_connect(&lab, argv[optind], 0, "netback-c");
	if (err) {
		fprintf(stderr, "netback: cannot join the lab in %s: %s\n", argv[optind], strerror(-err));
		return 1;
	}
	bool good = meet_guest() == 0 && connect_vif() == 0 && serve() == 0 && leave() == 0;
	if (good && expected != UINT64_MAX && frames != expected) {
		snprintf(error, sizeof error, "%llu frames were to come", (unsigned long long)expected);
		good = false;
	}
	pvlab_goodbye(&lab, good ? 0 : 1);
	if (!good) {
		fprintf(stderr, "netback: frame %llu of domain %u: %s\n", (unsigned long long)frames, domid, error);
		return 1;
	}
	printf("netback: %llu frames of domain %u in order, %llu bytes, %llu sent back; tx ring at %#x, rx ring at %#x\n",
	       (unsigned long long)frames, domid, (unsigned long long)bytes, (unsigned long long)sent_back, tx.req_cons,
	       rx.req_cons);
	return 0;
}
