/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Which rule decides a request that was read: l7proxy/compiler/execute.py over rules_map.py. */

/* The tables of a road's number, with the mask that keeps an index within their cells. */
static inline struct rules_large *rules_of(u32 road, u32 *mask)
{
    u32 number = road >> RULES_NUMBER_SHIFT, zero = 0;
    void *inner;

    switch (road >> RULES_CLASS_SHIFT & 15) {
    case 0:
        *mask = RULES_SMALL - 1;
        inner = INNER_MAP(FD_SMALL_RULES, &number);
        break;
    case 1:
        *mask = RULES_LARGE - 1;
        inner = INNER_MAP(FD_LARGE_RULES, &number);
        break;
    default:
        return 0;
    }
    if (!inner)
        return 0;
    return bpf_map_lookup_elem(inner, &zero);
}

static inline struct grammar *grammar_of(u32 number)
{
    u32 zero = 0;
    void *inner = INNER_MAP(FD_GRAMMARS, &number);

    if (!inner)
        return 0;
    return bpf_map_lookup_elem(inner, &zero);
}

/* ACCEPTED, or why the rules refuse. */
static inline int decide(struct rules_large *rules, u32 mask, struct grammar *grammar,
                         struct walker *w, struct head *head)
{
    u64 fields = rules->fields, layer = w->zero, word;

    head->rule_bit = 0;
    for (; layer < 2; layer = NEXT(layer, 4)) {
        OR_GOTO(undecided);
        if (layer >= rules->layers)
            return ACCEPTED;
        u64 end = rules->layer_words[(layer & 1) + 1];
        u32 found = 0;

        for (word = rules->layer_words[layer & 1]; word < end;
             word = NEXT(word, 256)) {
            OR_GOTO(undecided);
            u64 field = w->zero;

            found = ~0u;
            for (; field < fields; field = NEXT(field, 32)) {
                OR_GOTO(undecided);
                u32 slot = rules->slot[field & 15] & 15;
                u32 set = rules->absent[field & 15];
                u64 flag = grammar->flag_of[slot];

                /* Upgrade is there for the rules only where it is understood. */
                if (slot < HEAD_SLOT_HEADER ||
                    (w->flags >> (flag & 63) & 1 && (flag != HEAD_FLAG_UPGRADE || head->upgrade)))
                    set = rules->cells[(w->kept[slot] + rules->last[slot]) & mask];
                found &= rules->cells[(set + word) & mask];
            }
            if (found)
                break;
        }
        if (!found) {
            if (!rules->otherwise[layer & 1])
                return REASON_NO_RULE_MATCHED;
            continue;
        }
        u32 lowest = found & -found;

        head->rule_word = word;
        head->rule_bit = lowest;
        if (rules->cells[(rules->blocks + word) & mask] & lowest)
            return REASON_RULE_BLOCKED;
    }
    return ACCEPTED;
undecided:
    return REASON_NO_RULE_MATCHED;
}
