/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * sk_skb/verdict: passes everything. Some kernels (6.18.14 and on, and their stable backports)
 * tell FIONREAD 0 for TCP bytes on a socket of a socket hash that has no such program; it is
 * attached where the start-up probe finds that. Clients of judged connections have it always: it
 * makes one queue of what comes by TCP and what goes around it.
 */
int on_receive(struct __sk_buff *skb)
{
    return SK_PASS;
}
