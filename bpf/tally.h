/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What is counted of every request, recorded or not. Programs of both directions count, in process
 * context and in softirqs that interrupt it: so the additions are atomic, though each processor has
 * its own numbers.
 */

/* The place of the only bit that is set, without branches, which the verifier would follow. */
static inline u32 place_of(u64 bit)
{
    return is_nonzero(bit & 0xaaaaaaaa) | is_nonzero(bit & 0xcccccccc) << 1 |
           is_nonzero(bit & 0xf0f0f0f0) << 2 | is_nonzero(bit & 0xff00ff00) << 3 |
           is_nonzero(bit & 0xffff0000) << 4;
}

/* What a request is, as far as its head was right: the flags of methods, and that of the version in
 * the place of no method. What it is counted by: the method's number and, from bit 4 on, the
 * version. */
#define METHOD_FLAGS (((1 << METHODS) - 1) & ~1)
#define FLAGS_OF(w) ((u32)((w)->flags >> (HEAD_FLAG_CONNECT - 1)) & METHOD_FLAGS | HAS(w, HTTP10))
#define WHAT_OF(flags) (place_of((flags) & METHOD_FLAGS) | ((flags) & 1) << 4)
#define METHOD_OF(what) ((what) & 15)

/* The bit of the rule that decided: struct decision. */
static inline u16 rule_of(struct head *head)
{
    return (head->rule_word * 32 + place_of(head->rule_bit)) | (is_nonzero(head->rule_bit) - 1);
}

static inline void tally_decision(struct http *http, u16 rule, u8 reason, u8 what)
{
    struct decision key = {.rules_id = http->rules_id, .rule = rule, .reason = reason, .what = what};
    u64 one = 1, *value = requests.lookup(&key);

    if (!value) {
        if (!requests.insert(&key, &one))
            return;
        value = requests.lookup(&key);
    }
    if (value)
        lock_xadd(value, 1);
    else
        count(COUNTER_UNCOUNTED);
}

static inline void tally_outcome(u64 status, u32 what)
{
    struct outcomes *found = outcomes.lookup(&what);

    if (found && status < STATUSES)
        lock_xadd(&found->by_status[status], 1);
}

static inline void tally_latency(u32 microseconds, u8 what)
{
    u32 method = METHOD_OF(what), bucket = LATENCY_BUCKET(microseconds);
    struct latencies *found = latencies.lookup(&method);

    if (!found || bucket >= LATENCY_BUCKETS)
        return;
    lock_xadd(&found->buckets[bucket], 1);
    lock_xadd(&found->sum, microseconds);
}
