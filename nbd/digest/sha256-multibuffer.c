// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * FIPS 180-4, sections 4.1.2, 5.1.1 and 6.2.2, with a vector of sixteen words
 * in the place of each word. Everything is inlined into one function whose
 * working variables and message schedule are 24 of the 32 registers.
 */
#include "nbd/digest/sha256-multibuffer.h"

#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__

#include <immintrin.h>

#define LANES BM_SHA256_LANES
#ifdef __clang__
#define KERNEL __attribute__((target("avx512f,avx512bw")))
#else
/* Left to itself gcc 12 adds in another order, with more spilled registers and
 * longer chains: 3.4 instead of 3.7 GB/s (Zen 4, as with clang 14). */
#define KERNEL                                                                 \
    __attribute__((target("avx512f,avx512bw"),                                 \
                   optimize("no-tree-reassoc", "no-schedule-insns2")))
#endif
#define INLINE static inline KERNEL __attribute__((always_inline))

struct state {
    __m512i v[8];
};

static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                    0xa54ff53a, 0x510e527f, 0x9b05688c,
                                    0x1f83d9ab, 0x5be0cd19};

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

INLINE __m512i add(__m512i x, __m512i y)
{
    return _mm512_add_epi32(x, y);
}

/* The truth tables of the three functions of three words, where x, y and z
 * are 0xf0, 0xcc and 0xaa. */
INLINE __m512i xor3(__m512i x, __m512i y, __m512i z)
{
    return _mm512_ternarylogic_epi32(x, y, z, 0x96);
}

INLINE __m512i choose(__m512i x, __m512i y, __m512i z)
{
    return _mm512_ternarylogic_epi32(x, y, z, 0xca);
}

INLINE __m512i majority(__m512i x, __m512i y, __m512i z)
{
    return _mm512_ternarylogic_epi32(x, y, z, 0xe8);
}

INLINE __m512i big_sigma0(__m512i x)
{
    return xor3(_mm512_ror_epi32(x, 2), _mm512_ror_epi32(x, 13),
                _mm512_ror_epi32(x, 22));
}

INLINE __m512i big_sigma1(__m512i x)
{
    return xor3(_mm512_ror_epi32(x, 6), _mm512_ror_epi32(x, 11),
                _mm512_ror_epi32(x, 25));
}

INLINE __m512i small_sigma0(__m512i x)
{
    return xor3(_mm512_ror_epi32(x, 7), _mm512_ror_epi32(x, 18),
                _mm512_srli_epi32(x, 3));
}

INLINE __m512i small_sigma1(__m512i x)
{
    return xor3(_mm512_ror_epi32(x, 17), _mm512_ror_epi32(x, 19),
                _mm512_srli_epi32(x, 10));
}

/* Word i of the next sixteen of the schedule takes the place of word i. */
INLINE void schedule(__m512i w[16], unsigned i)
{
    __m512i far = add(w[i], small_sigma0(w[(i + 1) % 16]));

    w[i] = add(add(far, w[(i + 9) % 16]), small_sigma1(w[(i + 14) % 16]));
}

/* Round i: instead of moving a to b, b to c and so on, each round calls the
 * eight variables by other names. */
INLINE void one_round(__m512i s[8], __m512i w, uint32_t k, unsigned i)
{
    __m512i a = s[(16 - i) % 8], b = s[(17 - i) % 8], c = s[(18 - i) % 8];
    __m512i e = s[(20 - i) % 8], f = s[(21 - i) % 8], g = s[(22 - i) % 8];
    __m512i *d = &s[(19 - i) % 8], *h = &s[(23 - i) % 8];
    __m512i t = add(*h, add(w, _mm512_set1_epi32((int)k)));

    t = add(add(t, choose(e, f, g)), big_sigma1(e));
    *d = add(*d, t);
    *h = add(add(t, majority(a, b, c)), big_sigma0(a));
}

/* Written out, for the index of each word must be a constant: a register. */
#define FOUR(STEP, i) STEP(i) STEP((i) + 1) STEP((i) + 2) STEP((i) + 3)
#define EIGHT(STEP, i) FOUR(STEP, i) FOUR(STEP, (i) + 4)
#define SIXTEEN(STEP) EIGHT(STEP, 0) EIGHT(STEP, 8)

#define FIRST_ROUND(i) one_round(s.v, w[i], constants[i], i);
#define LATER_ROUND(i)                                                         \
    schedule(w, i);                                                            \
    one_round(s.v, w[i], constants[t + (i)], i);
#define ADD_STATE(i) state->v[i] = add(state->v[i], s.v[i]);

/* One block of each message; w is used up. */
INLINE void compress(struct state *state, __m512i w[16])
{
    struct state s = *state;

    SIXTEEN(FIRST_ROUND)
    for (unsigned t = 16; t < 64; t += 16) {
        SIXTEEN(LATER_ROUND)
    }
    EIGHT(ADD_STATE, 0)
}

/* 64 bytes of a message as words, whose first byte is the highest. */
INLINE __m512i load(const void *block, size_t offset)
{
    const __m512i order =
        _mm512_set4_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);

    return _mm512_shuffle_epi8(
        _mm512_loadu_si512((const uint8_t *)block + offset), order);
}

/* Of four messages: quarter q of w[j] is word 4q + j of each of them. */
INLINE void load_four(const void *const blocks[4], size_t offset, __m512i w[4])
{
    __m512i a = load(blocks[0], offset), b = load(blocks[1], offset);
    __m512i c = load(blocks[2], offset), d = load(blocks[3], offset);
    __m512i low_ab = _mm512_unpacklo_epi32(a, b);
    __m512i low_cd = _mm512_unpacklo_epi32(c, d);
    __m512i high_ab = _mm512_unpackhi_epi32(a, b);
    __m512i high_cd = _mm512_unpackhi_epi32(c, d);

    w[0] = _mm512_unpacklo_epi64(low_ab, low_cd);
    w[1] = _mm512_unpackhi_epi64(low_ab, low_cd);
    w[2] = _mm512_unpacklo_epi64(high_ab, high_cd);
    w[3] = _mm512_unpackhi_epi64(high_ab, high_cd);
}

#define EVEN_QUARTERS 0x88
#define ODD_QUARTERS 0xdd

/* Transposes the quarters of w[j], w[4 + j], w[8 + j] and w[12 + j]. */
INLINE void swap_quarters(__m512i w[16], unsigned j)
{
    __m512i even = _mm512_shuffle_i32x4(w[j], w[4 + j], EVEN_QUARTERS);
    __m512i odd = _mm512_shuffle_i32x4(w[j], w[4 + j], ODD_QUARTERS);
    __m512i even2 = _mm512_shuffle_i32x4(w[8 + j], w[12 + j], EVEN_QUARTERS);
    __m512i odd2 = _mm512_shuffle_i32x4(w[8 + j], w[12 + j], ODD_QUARTERS);

    w[j] = _mm512_shuffle_i32x4(even, even2, EVEN_QUARTERS);
    w[4 + j] = _mm512_shuffle_i32x4(odd, odd2, EVEN_QUARTERS);
    w[8 + j] = _mm512_shuffle_i32x4(even, even2, ODD_QUARTERS);
    w[12 + j] = _mm512_shuffle_i32x4(odd, odd2, ODD_QUARTERS);
}

/* The words of 64 bytes of each message: lane m of w[i] is word i of m. */
INLINE void load_words(const void *const blocks[LANES], size_t offset,
                       __m512i w[16])
{
    load_four(blocks, offset, w);
    load_four(blocks + 4, offset, w + 4);
    load_four(blocks + 8, offset, w + 8);
    load_four(blocks + 12, offset, w + 12);
    swap_quarters(w, 0);
    swap_quarters(w, 1);
    swap_quarters(w, 2);
    swap_quarters(w, 3);
}

/* The last block of a message of whole blocks holds padding only. */
INLINE void padding(size_t len, __m512i w[16])
{
#define NO_WORD(i) w[i] = _mm512_setzero_si512();
    SIXTEEN(NO_WORD)
    w[0] = _mm512_set1_epi32((int)0x80000000);
    w[14] = _mm512_set1_epi32((int)((uint64_t)len >> 29));
    w[15] = _mm512_set1_epi32((int)(len << 3));
}

/* Word i of each digest, from the lanes to their places, big-endian. */
static void store(const uint32_t words[8][LANES], uint8_t *mds)
{
    for (unsigned lane = 0; lane < LANES; lane++)
        for (unsigned i = 0; i < 8; i++) {
            uint32_t word = __builtin_bswap32(words[i][lane]);

            memcpy(mds + 32 * lane + 4 * i, &word, sizeof word);
        }
}

bool bm_sha256_lanes_available(void)
{
    return __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw");
}

KERNEL void bm_sha256_lanes(const void *const blocks[LANES], size_t len,
                            uint8_t *mds)
{
    uint32_t words[8][LANES];
    struct state state;
    __m512i w[16];

#define SET_STATE(i) state.v[i] = _mm512_set1_epi32((int)initial[i]);
    EIGHT(SET_STATE, 0)
    for (size_t offset = 0; offset < len; offset += 64) {
        load_words(blocks, offset, w);
        compress(&state, w);
    }
    padding(len, w);
    compress(&state, w);
#define STORE_WORD(i) _mm512_storeu_si512(words[i], state.v[i]);
    EIGHT(STORE_WORD, 0)
    store(words, mds);
}

#else /* other processors */

bool bm_sha256_lanes_available(void)
{
    return false;
}

void bm_sha256_lanes(const void *const blocks[BM_SHA256_LANES], size_t len,
                     uint8_t *mds)
{
    abort();
}

#endif
