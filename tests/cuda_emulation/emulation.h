/* An emulation of the CUDA runtime on the CPU, for tests: what everything that runs on a device is made of.
 *
 * It takes the place of libcudart. Kernels, copies and what emulated libraries (cuDNN, NCCL) queue are
 * *work*: queued on a stream, they run when somebody waits for them or for what depends on them, and not
 * before, in the least favourable order that streams and events allow. Device memory can be read and written
 * while work runs and at no other time. */
#ifndef TESTS_CUDA_EMULATION_EMULATION_H
#define TESTS_CUDA_EMULATION_EMULATION_H

#include <cuda_runtime_api.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*EmulatedWork)(void *arguments);

/* Queues work on a stream, or captures it: `bytes` of arguments are copied now, the work runs later, on the
 * thread that waits for it. The name of the function `work` is the one that counts and messages show. */
void emulation_queue(cudaStream_t stream, EmulatedWork work, const void *arguments, size_t bytes);

/* To be called by work that cannot go on yet, because it waits for another process; it then returns, and is
 * called again later with the same arguments, changes to them included. Until it has returned without calling
 * this, queries of what depends on it answer cudaErrorNotReady, and calls that wait for it do not return. */
void emulation_try_again(void);

/* Ends the program with a message unless [address, address + bytes) lies in one live block of device memory.
 * To be called when work runs. */
void emulation_expect_device(const void *address, size_t bytes, const char *what);

/* To be called by work when it runs, of all device memory that it uses: the program ends with a message if
 * other work that uses it too may run at the same time, or if nothing has written what is read. What work has
 * written itself it does not have to say that it reads. */
void emulation_reads(const void *address, size_t bytes);
void emulation_writes(const void *address, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
