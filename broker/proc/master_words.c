/* SPDX-License-Identifier: Apache-2.0
 *
 * The choice among the name servers' words.
 */
#include "broker/proc/master_words.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

static void set_address(char out[MASTER_ADDRESS_BYTES], const char *address)
{
    size_t size = address == NULL ? 0 : strlen(address);
    if (size >= MASTER_ADDRESS_BYTES)
        size = 0;
    if (size > 0)
        memcpy(out, address, size);
    out[size] = '\0';
}

void master_words_set(struct master_words *words, size_t index, bool heard, const char *master,
                      const char *ha_address)
{
    CHECK(index < MASTER_WORDS_MAX);
    struct master_word *word = &words->words[index];
    word->heard = heard;
    set_address(word->master, heard ? master : NULL);
    set_address(word->ha_address, heard ? ha_address : NULL);
}

enum master_change master_words_decide(struct master_words *words)
{
    const struct master_word *first = NULL;
    const struct master_word *same = NULL;
    bool any_heard = false;
    words->disagree = false;
    for (size_t i = 0; i < words->count; i++) {
        const struct master_word *word = &words->words[i];
        any_heard |= word->heard;
        if (!word->heard || word->master[0] == '\0')
            continue;
        if (first == NULL)
            first = word;
        words->disagree |= strcmp(word->master, first->master) != 0;
        if (same == NULL && strcmp(word->master, words->followed.master) == 0)
            same = word;
    }
    if (!any_heard)
        return MASTER_SAME;
    struct master_word *followed = &words->followed;
    if (first == NULL) {
        bool had_one = followed->master[0] != '\0';
        followed->master[0] = '\0';
        return had_one ? MASTER_NONE : MASTER_SAME;
    }
    const struct master_word *chosen = same != NULL ? same : first;
    if (strcmp(chosen->master, followed->master) == 0 &&
        strcmp(chosen->ha_address, followed->ha_address) == 0)
        return MASTER_SAME;
    *followed = *chosen;
    return MASTER_OTHER;
}
