/* SPDX-License-Identifier: Apache-2.0
 *
 * What must hold for every input of a header decoder; shared by the fuzz targets.
 */
#ifndef TEST_UNIT_SUPPORT_HEADER_PROPERTY_H
#define TEST_UNIT_SUPPORT_HEADER_PROPERTY_H

#include "proto/command.h"

/* Decode `header`. If it is accepted, it can be written by every codec that can carry it and reads
 * back the same, and writing what was read back gives the same bytes once more. Decoding takes at
 * most a small multiple of the header's memory. Aborts where this fails. */
void header_property(enum codec codec, struct slice header);

#endif
