/* The file of remembered engines (cudnn_plans.h): lines {"convolution": "NAME", "engine": "TEXT"}. Plain C:
 * no CUDA. */
#ifndef KERNELS_CUDA_ENGINE_FILE_H
#define KERNELS_CUDA_ENGINE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

enum { ENGINE_FILE_PATH_BYTES = 1024 };

/* The path for a device model ("NVIDIA H200") and cuDNN version; makes the folder. STATUS_FAILURE: no home,
 * or the folder cannot be made. */
Status engine_file_path(const char *device_name, size_t cudnn_version, char path[ENGINE_FILE_PATH_BYTES]);

/* Opens the file, creating it, and waits for its lock; *descriptor is closed by engine_file_close, which
 * unlocks it. STATUS_FAILURE names the file and the reason. */
Status engine_file_open(const char *path, int *descriptor);
void engine_file_close(int descriptor);

/* The last line for this convolution; *found is false without one. Lines that are malformed, as a killed
 * process may leave them, are skipped. */
Status engine_file_find(int descriptor, const char *convolution, size_t engine_bytes, char *engine,
                        bool *found);

/* Appends a line. */
Status engine_file_add(int descriptor, const char *convolution, const char *engine);

#endif
