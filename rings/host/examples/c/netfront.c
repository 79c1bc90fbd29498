/*
 * A netfront in C: joins a lab as a guest, sends frames of seeded sizes and content, and compares
 * every byte that the backend's reflector sends back.
 *
 *   cc -std=c11 -O2 -I rings/host/include -o netfront rings/host/examples/c/netfront.c
 *   ./netfront [-n FRAMES] [-b INDEX_BASE] [-s SEED] [-1] DIR      -1: one event channel for both rings
 *
 * The rings are handled by Xen's own macros (libxen-dev); what makes this process a domain is
 * pvlab.h. Not here: offloads, several queues, a network stack.
 *
 * Page and slot bookkeeping is as simple as can be: each ring has 256 slots, and each slot of the rx
 * ring, and each id of the tx ring, has a page of its own that is granted once.
 */
#include "pvlab.h"
#include "frames.h"
#include <stdbool.h>
#include <xen/io/ring.h>
#include <xen/io/netif.h>
#include <xen/io/xenbus.h>

enum { SLOTS = 256, STEP_MS = 10000 };

static const char vif[] = "device/vif/0";
static struct pvlab lab;
static char back[256], error[160];
static uint32_t backend;

static struct pvlab_port ports[2]; /* tx, rx; or the first for both */
static int port_count = 2;

static struct netif_tx_front_ring tx;
static struct netif_rx_front_ring rx;
static uint32_t ring_gref[2], tx_frame, rx_frame, tx_gref[SLOTS], rx_gref[SLOTS];
static uint16_t tx_free[SLOTS]; /* ids that no request on the ring has */
static unsigned tx_free_count;
static bool on_ring[SLOTS]; /* the others */

static uint64_t seed = 1, sent, taken, bytes, slots;
static uint8_t arriving[MAX_FRAME]; /* a frame whose last slot has not come yet */
static size_t arrived;

#define TRY(call) do { int64_t e_ = (call); if (e_ < 0) { snprintf(error, sizeof error, "%s: %s", #call, strerror((int)-e_)); return -1; } } while (0)
#define LIE(...) do { snprintf(error, sizeof error, __VA_ARGS__); return -1; } while (0)

/* A frame has come back whole: it must be the next one, with its two addresses exchanged. */
static int check_frame(void)
{
	static uint8_t expected[MAX_FRAME + 1];
	uint8_t from[6];
	size_t len = make_frame(seed, taken, expected);

	memcpy(from, expected + 6, 6);
	memcpy(expected + 6, expected, 6);
	memcpy(expected, from, 6);
	if (arrived != len)
		LIE("frame %llu came back with %zu bytes instead of %zu", (unsigned long long)taken, arrived, len);
	for (size_t i = 0; i < len; i++)
		if (arriving[i] != expected[i])
			LIE("byte %zu of frame %llu is %#x and should be %#x", i, (unsigned long long)taken,
			    arriving[i], expected[i]);
	bytes += len;
	taken++;
	arrived = 0;
	return 0;
}

/* ---- The tx ring ------------------------------------------------------------------------- */

/* Puts a frame on the ring in `parts` slots, some of them without a byte; the first says the size
 * of the whole. */
static void put_frame(const uint8_t *frame, size_t len, unsigned parts, uint64_t *state)
{
	size_t left = len;

	for (unsigned part = 0; part < parts; part++) {
		size_t rest = (size_t)(parts - part - 1) * PVLAB_PAGE; /* what later slots can carry */
		size_t least = left > rest ? left - rest : part == 0;
		size_t most = left < PVLAB_PAGE ? left : PVLAB_PAGE;
		size_t size = part + 1 == parts ? left : least + next_random(state) % (most - least + 1);
		size_t offset = next_random(state) % (PVLAB_PAGE - size + 1);
		uint16_t id = tx_free[--tx_free_count];
		on_ring[id] = true;
		struct netif_tx_request *req = RING_GET_REQUEST(&tx, tx.req_prod_pvt++);

		memcpy((uint8_t *)pvlab_frame(&lab, tx_frame + id) + offset, frame + (len - left), size);
		req->gref = tx_gref[id];
		req->offset = (uint16_t)offset;
		req->flags = part + 1 < parts ? NETTXF_more_data : 0;
		req->id = id;
		req->size = (uint16_t)(part == 0 ? len : size);
		left -= size;
		slots++;
	}
}

/* Sends frames as long as there is room; how many. */
static int send_frames(uint64_t total)
{
	static uint8_t frame[MAX_FRAME + 1];
	int count = 0, notify;

	while (sent < total) {
		uint64_t state = ~(seed + sent) | 1;
		size_t len = make_frame(seed, sent, frame);
		unsigned parts = (unsigned)((len + PVLAB_PAGE - 1) / PVLAB_PAGE);
		if (next_random(&state) % 4 == 0)
			parts += (unsigned)(next_random(&state) % (XEN_NETIF_NR_SLOTS_MIN + 1 - parts));
		if (RING_FREE_REQUESTS(&tx) < parts)
			break;
		put_frame(frame, len, parts, &state);
		sent++;
		count++;
	}
	if (count) {
		RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&tx, notify);
		if (notify)
			pvlab_send(&ports[0]);
	}
	return count;
}

/* Takes back the pages of slots that were answered; how many, or -1 for a lie. */
static int take_tx_responses(void)
{
	RING_IDX prod = pvlab_load32(&tx.sring->rsp_prod);
	int count = 0;

	if (prod - tx.rsp_cons > tx.req_prod_pvt - tx.rsp_cons)
		LIE("rsp_prod of the tx ring is %#x, with requests up to %#x", prod, tx.req_prod_pvt);
	for (; tx.rsp_cons != prod; tx.rsp_cons++, count++) {
		struct netif_tx_response rsp;
		RING_COPY_RESPONSE(&tx, tx.rsp_cons, &rsp);
		if (rsp.status != NETIF_RSP_OKAY)
			LIE("tx slot %u was answered with %d", rsp.id, rsp.status);
		if (rsp.id >= SLOTS || !on_ring[rsp.id])
			LIE("tx id %u was answered and not asked", rsp.id);
		on_ring[rsp.id] = false;
		tx_free[tx_free_count++] = rsp.id;
	}
	return count;
}

/* ---- The rx ring ------------------------------------------------------------------------- */

/* Posts buffers until the ring is full: the one of slot n is page n. */
static void post_buffers(void)
{
	while (!RING_FULL(&rx)) {
		struct netif_rx_request *req = RING_GET_REQUEST(&rx, rx.req_prod_pvt);
		req->id = rx.req_prod_pvt++ % SLOTS;
		req->pad = 0;
		req->gref = rx_gref[req->id];
	}
}

/* Takes and checks what has come; how many slots, or -1 for a lie. */
static int take_frames(void)
{
	RING_IDX prod = pvlab_load32(&rx.sring->rsp_prod);
	int count = 0, notify;

	if (RING_RESPONSE_PROD_OVERFLOW(&rx, prod))
		LIE("rsp_prod of the rx ring is %#x, %#x is consumed", prod, rx.rsp_cons);
	for (; rx.rsp_cons != prod; rx.rsp_cons++, count++) {
		struct netif_rx_response rsp;
		RING_COPY_RESPONSE(&rx, rx.rsp_cons, &rsp);
		if (rsp.id != rx.rsp_cons % SLOTS)
			LIE("rx id %u is in the slot of %u", rsp.id, rx.rsp_cons % SLOTS);
		if (rsp.status < 0 || rsp.flags & NETRXF_extra_info)
			LIE("rx status %d, flags %#x", rsp.status, rsp.flags);
		if (rsp.offset + rsp.status > PVLAB_PAGE || arrived + (size_t)rsp.status > sizeof arriving)
			LIE("%d bytes at %u do not fit", rsp.status, rsp.offset);
		memcpy(arriving + arrived, (uint8_t *)pvlab_frame(&lab, rx_frame + rsp.id) + rsp.offset, (size_t)rsp.status);
		arrived += (size_t)rsp.status;
		if (!(rsp.flags & NETRXF_more_data) && check_frame() < 0)
			return -1;
	}
	if (count) {
		post_buffers();
		RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&rx, notify);
		if (notify)
			pvlab_send(&ports[port_count - 1]);
	}
	return count;
}

/* ---- The device -------------------------------------------------------------------------- */

/* Nothing to do: asks both rings for an event and sleeps, unless something came meanwhile. */
static int sleep_on_ports(void)
{
	int work, pending = 0;

	for (int i = 0; i < port_count; i++)
		pending |= pvlab_unmask(&ports[i]);
	RING_FINAL_CHECK_FOR_RESPONSES(&tx, work);
	pending |= work != 0;
	RING_FINAL_CHECK_FOR_RESPONSES(&rx, work);
	pending |= work != 0;
	if (!pending)
		TRY(pvlab_wait(ports, port_count, lab.xs.fd, STEP_MS));
	for (int i = 0; i < port_count; i++) {
		pvlab_mask(&ports[i]);
		pvlab_clear(&ports[i]);
	}
	while (!pending && (work = pvlab_xs_wait(&lab.xs, 0)) != 0)
		TRY(work);
	if (pvlab_xs_state(&lab.xs, back) != XenbusStateConnected)
		LIE("the backend has left");
	return 0;
}

static int grant(uint32_t frame, bool readonly, uint32_t *gref)
{
	int64_t given = pvlab_grant_access(&lab, (uint16_t)backend, frame, readonly);
	TRY(given);
	*gref = (uint32_t)given;
	return 0;
}

/* A page for each ring, both starting at `base`, and pages for their slots. */
static int make_rings(RING_IDX base)
{
	int64_t first = pvlab_alloc_frames(&lab, 2 + 2 * SLOTS);

	TRY(first);
	tx_frame = (uint32_t)first + 2;
	rx_frame = tx_frame + SLOTS;
	struct netif_tx_sring *tx_page = pvlab_frame(&lab, (uint32_t)first);
	struct netif_rx_sring *rx_page = pvlab_frame(&lab, (uint32_t)first + 1);
	SHARED_RING_INIT(tx_page);
	SHARED_RING_INIT(rx_page);
	tx_page->req_prod = tx_page->rsp_prod = rx_page->req_prod = rx_page->rsp_prod = base;
	tx_page->req_event = tx_page->rsp_event = rx_page->req_event = rx_page->rsp_event = base + 1;
	FRONT_RING_ATTACH(&tx, tx_page, base, PVLAB_PAGE);
	FRONT_RING_ATTACH(&rx, rx_page, base, PVLAB_PAGE);

	for (uint32_t i = 0; i < 2; i++)
		if (grant((uint32_t)first + i, false, &ring_gref[i]) < 0)
			return -1;
	for (uint32_t i = 0; i < SLOTS; i++) {
		if (grant(tx_frame + i, true, &tx_gref[i]) < 0 || grant(rx_frame + i, false, &rx_gref[i]) < 0)
			return -1;
		tx_free[tx_free_count++] = (uint16_t)i;
	}
	post_buffers();
	RING_PUSH_REQUESTS(&rx);
	return 0;
}

/* Xen's keys, all at once. */
static int publish(void)
{
	static const char *const yes[] = { "request-rx-copy", "feature-rx-notify", "feature-sg", "feature-no-csum-offload" };
	struct pvlab_xs *xs = &lab.xs;
	int err;

	do {
		TRY(pvlab_xs_begin(xs));
		TRY(pvlab_xs_write_u32(xs, vif, "tx-ring-ref", ring_gref[0]));
		TRY(pvlab_xs_write_u32(xs, vif, "rx-ring-ref", ring_gref[1]));
		TRY(pvlab_xs_write_u32(xs, vif, port_count == 2 ? "event-channel-tx" : "event-channel", ports[0].port));
		if (port_count == 2)
			TRY(pvlab_xs_write_u32(xs, vif, "event-channel-rx", ports[1].port));
		for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
			TRY(pvlab_xs_write(xs, vif, yes[i], "1"));
		err = pvlab_xs_commit(xs);
	} while (err == -EAGAIN);
	TRY(err);
	return 0;
}

static int connect_vif(RING_IDX base)
{
	struct pvlab_xs *xs = &lab.xs;
	uint32_t copies = 0, split = 0;

	TRY(pvlab_xs_read(xs, vif, "backend", back, sizeof back));
	TRY(pvlab_xs_read_u32(xs, vif, "backend-id", &backend));
	TRY(pvlab_xs_wait_state(xs, back, 1u << XenbusStateInitWait, STEP_MS));
	TRY(pvlab_xs_read_u32(xs, back, "feature-rx-copy", &copies));
	if (!copies)
		LIE("the backend does not copy");
	if (pvlab_xs_read_u32(xs, back, "feature-split-event-channels", &split) < 0 || !split)
		port_count = 1;
	if (make_rings(base) < 0)
		return -1;
	for (int i = 0; i < port_count; i++)
		TRY(pvlab_alloc_unbound(&lab, (uint16_t)backend, &ports[i]));
	if (publish() < 0)
		return -1;
	TRY(pvlab_xs_switch(xs, vif, XenbusStateConnected));
	TRY(pvlab_xs_wait_state(xs, back, 1u << XenbusStateConnected, STEP_MS));
	for (int i = 0; i < port_count; i++)
		pvlab_send(&ports[i]);
	return 0;
}

static int run(uint64_t total)
{
	while (taken < total) {
		int answered = take_tx_responses();
		int came = answered < 0 ? -1 : take_frames();
		if (came < 0)
			return -1;
		if (answered + came + send_frames(total) == 0 && sleep_on_ports() < 0)
			return -1;
	}
	return 0;
}

/* Closing, Closed, and when the backend has let go every page comes back. */
static int leave(void)
{
	const unsigned closed = 1u << XenbusStateClosed | 1u << XenbusStateUnknown;

	TRY(pvlab_xs_switch(&lab.xs, vif, XenbusStateClosing));
	TRY(pvlab_xs_wait_state(&lab.xs, back, closed | 1u << XenbusStateClosing, STEP_MS));
	TRY(pvlab_xs_switch(&lab.xs, vif, XenbusStateClosed));
	TRY(pvlab_xs_wait_state(&lab.xs, back, closed, STEP_MS));
	for (int i = 0; i < port_count; i++)
		TRY(pvlab_close(&lab, &ports[i]));
	for (int i = 0; i < 2; i++)
		TRY(pvlab_end_access(&lab, ring_gref[i]));
	for (int i = 0; i < SLOTS; i++) {
		TRY(pvlab_end_access(&lab, tx_gref[i]));
		TRY(pvlab_end_access(&lab, rx_gref[i]));
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t total = 10000;
	RING_IDX base = 0;
	bool wrong = false;
	int option;

	while ((option = getopt(argc, argv, "n:b:s:1")) != -1) {
		if (option == 'n')
			total = strtoull(optarg, NULL, 0);
		else if (option == 'b')
			base = (RING_IDX)strtoul(optarg, NULL, 0);
		else if (option == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (option == '1')
			port_count = 1;
		else
			wrong = true;
	}
	if (wrong || optind + 1 != argc) {
		fprintf(stderr, "usage: netfront [-n FRAMES] [-b INDEX_BASE] [-s SEED] [-1] DIR\n");
		return 2;
	}
	int err = pvlab_connect(&lab, argv[optind], PVLAB_ANY, "netfront-c");
	if (err) {
		fprintf(stderr, "netfront: cannot join the lab in %s: %s\n", argv[optind], strerror(-err));
		return 1;
	}
	uint16_t domid = lab.domid;
	bool good = connect_vif(base) == 0 && run(total) == 0 && leave() == 0;
	pvlab_goodbye(&lab, good ? 0 : 1);
	if (!good) {
		fprintf(stderr, "netfront: domain %u, frame %llu: %s\n", domid, (unsigned long long)taken, error);
		return 1;
	}
	printf("netfront: domain %u: %llu frames in %llu slots went out and came back, %llu bytes equal; "
	       "tx ring %#x to %#x, rx ring %#x to %#x\n", domid, (unsigned long long)taken, (unsigned long long)slots,
	       (unsigned long long)bytes, base, tx.rsp_cons, base, rx.rsp_cons);
	return 0;
}
