/* SPDX-License-Identifier: Apache-2.0
 *
 * The broker's clockwork: four threads that do what must be done now and then, away from the
 * loops. The housekeeper saves tables and forgets silent clients; it may wait on disk. The
 * deliverer moves delayed messages that are due, so that no slow save makes one late. The asker
 * checks open transactions. The journal
 * thread writes, every 50 ms, what has changed in the offsets into the journals beside their files.
 */
#ifndef BROKER_PROC_HOUSEKEEPER_H
#define BROKER_PROC_HOUSEKEEPER_H

#include "broker/proc/broker.h"

struct housekeeper;

enum status housekeeper_start(struct broker *broker, struct housekeeper **out, struct err *err);

void housekeeper_stop(struct housekeeper *keeper); /* ends the threads */

/* Save every table once more. After store_stop: the delay offsets are only saved when what they
 * have passed is on disk. */
void housekeeper_free(struct housekeeper *keeper);

#endif
