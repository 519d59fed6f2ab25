/* The two networks the tests are about: the committed vectors' and the report's. */
#ifndef TESTS_UNET_SIZES_H
#define TESTS_UNET_SIZES_H

#include "model/unet.h"

static const UnetOptions small = {.channel_count = 3,
                                  .channels = {8, 16, 24},
                                  .time_dim = 24,
                                  .groups = 4,
                                  .batch = 4,
                                  .height = 12,
                                  .width = 12};
static const UnetOptions report = {.channel_count = 3,
                                   .channels = {64, 128, 256},
                                   .time_dim = 256,
                                   .groups = 8,
                                   .batch = 8,
                                   .height = 28,
                                   .width = 28};

#endif
