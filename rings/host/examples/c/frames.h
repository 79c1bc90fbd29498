/*
 * The frames that netfront.c sends: size and content are determined by a seed and the frame's
 * number, so that whoever knows both can tell every byte. Not here: anything of rings.
 */
#ifndef FRAMES_H
#define FRAMES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MAX_FRAME = 65535 };

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

/* Writes frame `number` of a seed; its length. Most are as long as Ethernet's, one in 32 is longer
 * and may take several pages to come back in. The number stands at 42, where pktgen has it. There
 * must be room for MAX_FRAME bytes. */
static inline size_t make_frame(uint64_t seed, uint64_t number, uint8_t *frame)
{
	static const uint8_t head[14] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x16, 0x3e, 0, 0, 1, 0x88, 0xb5 };
	uint64_t state = seed * 0x9e3779b97f4a7c15u + number + 1;
	size_t len;

	for (int i = 0; i < 8; i++)
		next_random(&state);
	if (next_random(&state) % 32 == 0)
		len = 1515 + next_random(&state) % (MAX_FRAME - 1514);
	else
		len = 60 + next_random(&state) % (1514 - 59);
	for (size_t at = 0; at < len; at += 8) {
		uint64_t word = next_random(&state);
		memcpy(frame + at, &word, len - at < 8 ? len - at : 8);
	}
	memcpy(frame, head, sizeof head);
	memcpy(frame + 42, &number, sizeof number);
	return len;
}

#endif /* FRAMES_H */
