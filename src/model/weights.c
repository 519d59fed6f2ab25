#include "model/weights.h"

#include <stdio.h>
#include <string.h>

Status weights_describe(const Graph *graph, TensorInfo **tensors) {
    Status status = ALLOCATE(tensors, graph->parameter_count);
    for (int p = 0; status == STATUS_OK && p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        TensorInfo *tensor = &(*tensors)[p];
        snprintf(tensor->name, sizeof tensor->name, "%s", parameter->name);
        tensor->rank = parameter->rank;
        memcpy(tensor->dims, parameter->dims, sizeof tensor->dims);
        tensor->offset = parameter->offset;
        tensor->count = parameter->count;
    }
    return status;
}

/* "(16, 1, 3, 3)" */
static const char *shape_text(int rank, const int64_t *dims, char text[96]) {
    int used = snprintf(text, 96, "(");
    for (int i = 0; i < rank; i++)
        used += snprintf(text + used, 96 - (size_t)used, "%s%lld", i ? ", " : "", (long long)dims[i]);
    snprintf(text + used, 96 - (size_t)used, ")");
    return text;
}

Status weights_check(const Graph *graph, const Checkpoint *checkpoint, const char *where) {
    char expected[96], found[96];
    for (int p = 0; p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        const TensorInfo *tensor = checkpoint_tensor(checkpoint, parameter->name);
        if (!tensor)
            return status_error(STATUS_BAD_INPUT, "%s: expected a parameter %s of shape %s, found none",
                                where, parameter->name,
                                shape_text(parameter->rank, parameter->dims, expected));
        if (tensor->rank != parameter->rank ||
            memcmp(tensor->dims, parameter->dims, (size_t)tensor->rank * sizeof *tensor->dims) != 0)
            return status_error(STATUS_BAD_INPUT, "%s: parameter %s: expected shape %s, found %s", where,
                                parameter->name, shape_text(parameter->rank, parameter->dims, expected),
                                shape_text(tensor->rank, tensor->dims, found));
    }
    if (checkpoint->tensor_count != graph->parameter_count)
        return status_error(STATUS_BAD_INPUT, "%s: expected %d parameters, found %d", where,
                            graph->parameter_count, checkpoint->tensor_count);
    return STATUS_OK;
}

void weights_copy(const Graph *graph, const Checkpoint *checkpoint, const float *from, float *to) {
    for (int p = 0; p < graph->parameter_count; p++) {
        const Parameter *parameter = &graph->parameters[p];
        const TensorInfo *tensor = checkpoint_tensor(checkpoint, parameter->name);
        memcpy(to + parameter->offset, from + tensor->offset, (size_t)parameter->count * sizeof *to);
    }
}
