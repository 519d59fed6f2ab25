/* The device, its errors, copies and launches. */
#include "internal.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

#include <cuda_runtime_api.h>

namespace emulation {
namespace {

thread_local cudaError_t last_error;
std::map<const void *, int> shared_limits; /* of kernels that opted in to more */

/* Codes that the emulation returns, as the runtime words them. */
struct ErrorText {
    cudaError_t code;
    const char *name, *text;
};
#define ERROR_TEXT(code, text)                                                                               \
    { code, #code, text }
const ErrorText error_texts[] = {
    ERROR_TEXT(cudaSuccess, "no error"),
    ERROR_TEXT(cudaErrorInvalidValue, "invalid argument"),
    ERROR_TEXT(cudaErrorMemoryAllocation, "out of memory"),
    ERROR_TEXT(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    ERROR_TEXT(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ERROR_TEXT(cudaErrorInvalidDevice, "invalid device ordinal"),
    ERROR_TEXT(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    ERROR_TEXT(cudaErrorNotReady, "device not ready"),
    ERROR_TEXT(cudaErrorNotSupported, "operation not supported"),
    ERROR_TEXT(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    ERROR_TEXT(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    ERROR_TEXT(cudaErrorStreamCaptureMerge,
               "operation would result in a merge of separate capture sequences"),
    ERROR_TEXT(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    ERROR_TEXT(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    ERROR_TEXT(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    ERROR_TEXT(cudaErrorCapturedEvent,
               "operation not permitted on an event last recorded in a capturing stream"),
    ERROR_TEXT(cudaErrorStreamCaptureWrongThread,
               "attempt to terminate a thread-local capture sequence from another thread"),
};

const ErrorText &text_of(cudaError_t code) {
    for (const ErrorText &entry : error_texts)
        if (entry.code == code)
            return entry;
    fail("error %d has no text here", (int)code);
}

/* The numbers in the machine of the devices that this process sees: the first CUDA_EMULATION_DEVICES (1), of
 * them those that CUDA_VISIBLE_DEVICES lists where it is set, in that order, up to the first that is none. */
std::vector<int> visible_devices() {
    const char *variable = getenv("CUDA_EMULATION_DEVICES"), *list = getenv("CUDA_VISIBLE_DEVICES");
    const long count = variable ? atoi(variable) : 1;
    std::vector<int> visible;
    for (long device = 0; !list && device < count; device++)
        visible.push_back((int)device);
    while (list && *list) {
        char *end;
        long device = strtol(list, &end, 10);
        if (end == list || device < 0 || device >= count)
            break;
        visible.push_back((int)device);
        list = *end == ',' ? end + 1 : "";
    }
    return visible;
}

int device_count() {
    return (int)visible_devices().size();
}

/* Another one for every device of every host. */
void set_uuid(cudaUUID_t *uuid, int device) {
    char host[64] = "";
    (void)gethostname(host, sizeof host - 1);
    const size_t hash = std::hash<std::string>()(host);
    memcpy(uuid->bytes, &hash, sizeof hash);
    uuid->bytes[sizeof uuid->bytes - 1] = (char)device;
}

/* ---- work of the runtime's own ---- */

struct Copy {
    void *to;
    const void *from;
    size_t bytes;
};

/* Two copies could use the same page-locked memory. */
void use_host(const void *memory, size_t bytes, void (*use)(const void *, size_t)) {
    if (is_page_locked(memory, bytes))
        use(memory, bytes);
}

void copy_device_to_device(void *arguments) {
    const Copy *copy = static_cast<const Copy *>(arguments);
    emulation_expect_device(copy->to, copy->bytes, "target of a copy");
    emulation_expect_device(copy->from, copy->bytes, "source of a copy");
    emulation_reads(copy->from, copy->bytes);
    emulation_writes(copy->to, copy->bytes);
    memmove(copy->to, copy->from, copy->bytes);
}

void copy_device_to_host(void *arguments) {
    const Copy *copy = static_cast<const Copy *>(arguments);
    emulation_expect_device(copy->from, copy->bytes, "source of a copy to the host");
    emulation_reads(copy->from, copy->bytes);
    use_host(copy->to, copy->bytes, emulation_writes);
    memcpy(copy->to, copy->from, copy->bytes);
}

void copy_host_to_device(void *arguments) {
    const Copy *copy = static_cast<const Copy *>(arguments);
    emulation_expect_device(copy->to, copy->bytes, "target of a copy from the host");
    use_host(copy->from, copy->bytes, emulation_reads);
    emulation_writes(copy->to, copy->bytes);
    memcpy(copy->to, copy->from, copy->bytes);
}

/* The bytes stand behind the arguments: pageable memory is read before the call returns. */
void copy_kept_to_device(void *arguments) {
    Copy *copy = static_cast<Copy *>(arguments);
    copy->from = copy + 1;
    copy_host_to_device(copy);
}

struct Fill {
    void *memory;
    int value;
    size_t bytes;
};

void fill_device(void *arguments) {
    const Fill *fill = static_cast<const Fill *>(arguments);
    emulation_expect_device(fill->memory, fill->bytes, "memory to fill");
    emulation_writes(fill->memory, fill->bytes);
    memset(fill->memory, fill->value, fill->bytes);
}

void queue_kept_copy(cudaStream_t stream, const Copy &copy) {
    std::vector<char> arguments(sizeof copy + copy.bytes);
    memcpy(arguments.data(), &copy, sizeof copy);
    memcpy(arguments.data() + sizeof copy, copy.from, copy.bytes);
    emulation_queue(stream, copy_kept_to_device, arguments.data(), arguments.size());
}

/* ---- launches ---- */

bool is_launchable(const cudaLaunchConfig_t &config) {
    enum { MAX_DEPTH = 64, MAX_GRID_YZ = 65535 };
    const dim3 grid = config.gridDim, block = config.blockDim;
    return grid.x >= 1 && grid.y >= 1 && grid.z >= 1 && block.x >= 1 && block.y >= 1 && block.z >= 1 &&
           grid.x <= 0x7fffffffu && grid.y <= MAX_GRID_YZ && grid.z <= MAX_GRID_YZ &&
           block.x <= MAX_THREADS && block.y <= MAX_THREADS && block.z <= MAX_DEPTH &&
           (size_t)block.x * block.y * block.z <= MAX_THREADS;
}

void run_launch(void *arguments) {
    const Launch *launch = static_cast<const Launch *>(arguments);
    run_grid(*launch, static_cast<char *>(arguments) + sizeof *launch);
}

} // namespace

std::recursive_mutex &lock() {
    static std::recursive_mutex mutex;
    return mutex;
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "emulated CUDA: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

cudaError_t report(cudaError_t error) {
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

} // namespace emulation

using namespace emulation;

const char *cudaGetErrorName(cudaError_t error) {
    return text_of(error).name;
}

const char *cudaGetErrorString(cudaError_t error) {
    return text_of(error).text;
}

cudaError_t cudaGetLastError(void) {
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

/* ---- the device ---- */

cudaError_t cudaGetDeviceCount(int *count) {
    *count = device_count();
    return report(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
    return report(device >= 0 && device < device_count() ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    if (device < 0 || device >= device_count())
        return report(cudaErrorInvalidDevice);
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "emulated device");
    set_uuid(&properties->uuid, visible_devices()[(size_t)device]);
    properties->major = 9;
    properties->multiProcessorCount = MULTIPROCESSORS;
    properties->sharedMemPerBlock = SHARED_DEFAULT;
    properties->sharedMemPerBlockOptin = SHARED_OPT_IN;
    properties->warpSize = WARP;
    properties->maxThreadsPerBlock = MAX_THREADS;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *lowest, int *highest) {
    *lowest = 0;
    *highest = -5;
    return cudaSuccess;
}

/* ---- copies ---- */

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    const Copy copy = {to, from, bytes};
    if (kind == cudaMemcpyDeviceToDevice) {
        emulation_queue(stream, copy_device_to_device, &copy, sizeof copy);
        return cudaSuccess;
    }
    if (kind != cudaMemcpyHostToDevice && kind != cudaMemcpyDeviceToHost)
        return report(cudaErrorNotSupported);
    const void *host = kind == cudaMemcpyHostToDevice ? from : to;
    if (is_device_range(host))
        fail("a copy of %zu bytes takes device memory for the host's", bytes);
    bool locked = is_page_locked(host, bytes);
    if (!locked && is_capturing(stream))
        return report(refuse_in_capture());
    if (kind == cudaMemcpyDeviceToHost) {
        emulation_queue(stream, copy_device_to_host, &copy, sizeof copy);
        return report(locked ? cudaSuccess : wait_for(stream));
    }
    if (locked)
        emulation_queue(stream, copy_host_to_device, &copy, sizeof copy);
    else
        queue_kept_copy(stream, copy);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    const Fill fill = {memory, value, bytes};
    emulation_queue(stream, fill_device, &fill, sizeof fill);
    return cudaSuccess;
}

/* ---- launches ---- */

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
        return report(cudaErrorNotSupported);
    if (value < 0 || value > SHARED_OPT_IN)
        return report(cudaErrorInvalidValue);
    shared_limits[function] = value;
    return cudaSuccess;
}

extern "C" cudaError_t emulated_launch(const cudaLaunchConfig_t *config, const void *kernel,
                                       void (*run_thread)(void *), const void *call, size_t call_bytes,
                                       size_t parameter_bytes);
cudaError_t emulated_launch(const cudaLaunchConfig_t *config, const void *kernel, void (*run_thread)(void *),
                            const void *call, size_t call_bytes, size_t parameter_bytes) {
    enum { MAX_PARAMETER_BYTES = 4096 }; /* of the oldest devices we build for */
    std::lock_guard<std::recursive_mutex> hold(lock());
    if (config->numAttrs != 0)
        return report(cudaErrorNotSupported);
    if (!is_launchable(*config))
        return report(cudaErrorInvalidConfiguration);
    auto limit = shared_limits.find(kernel);
    if (config->dynamicSmemBytes > (size_t)(limit == shared_limits.end() ? SHARED_DEFAULT : limit->second) ||
        parameter_bytes > MAX_PARAMETER_BYTES)
        return report(cudaErrorInvalidValue);
    Launch launch = {kernel, config->gridDim, config->blockDim, config->dynamicSmemBytes, run_thread};
    std::vector<char> arguments(sizeof launch + call_bytes);
    memcpy(arguments.data(), &launch, sizeof launch);
    memcpy(arguments.data() + sizeof launch, call, call_bytes);
    queue(config->stream, kernel, run_launch, arguments.data(), arguments.size());
    return cudaSuccess;
}
