#include "op_operands.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Every operand name in ops.def. */
static const char *const operand_names[] = {
    "t",       "e",     "x",     "y",    "a",    "b",    "weight", "bias",   "dy",    "dx",     "dbias",
    "dweight", "shift", "gamma", "beta", "mean", "rstd", "addend", "dgamma", "dbeta", "dshift", "dx_rest"};

const char *op_input_name(OpKind kind, int index) {
    for (int k = 0; k < COUNT(operand_names); k++)
        if (op_input(kind, operand_names[k]) == index)
            return operand_names[k];
    return "?";
}

const char *op_output_name(OpKind kind, int index) {
    for (int k = 0; k < COUNT(operand_names); k++)
        if (op_output(kind, operand_names[k]) == index)
            return operand_names[k];
    return "?";
}

bool op_operand_is_parameter(const char *name) {
    static const char *const parameters[] = {"weight", "bias", "gamma", "beta"};
    for (int k = 0; k < COUNT(parameters); k++)
        if (strcmp(name, parameters[k]) == 0 || (name[0] == 'd' && strcmp(name + 1, parameters[k]) == 0))
            return true;
    return false;
}

/* Timesteps are whole numbers; rstd is positive; SiLU meets numbers whose exp overflows a float. */
static float input_value(const OpDescription *op, const char *name, float normal, int64_t i,
                         float magnitude) {
    static const float extremes[] = {-100, 100, -30, 30, 0, -0.0f};
    if (strcmp(name, "t") == 0)
        return floorf(fminf(fabsf(normal) * 120 * magnitude, 999));
    if (strcmp(name, "gamma") == 0)
        return 1 + 0.3f * normal;
    if (strcmp(name, "weight") == 0 || strcmp(name, "bias") == 0 || strcmp(name, "beta") == 0)
        return 0.5f * normal;
    if (strcmp(name, "rstd") == 0)
        return 0.5f + fabsf(normal);
    if (op->kind == OP_SILU || op->kind == OP_SILU_BACKWARD)
        return strcmp(name, "x") == 0 && i < COUNT(extremes) ? extremes[i] : 4 * normal * magnitude;
    if (strcmp(name, "x") == 0 && op->attributes.groups)
        return 0.7f + normal * magnitude; /* a mean to be removed */
    return normal * magnitude;
}

void op_case_inputs(const OpDescription *op, uint64_t seed, float magnitude, float *const *in) {
    for (int k = 0; k < op_input_count(op->kind); k++) {
        int64_t count = shape_count(op->inputs[k]);
        if (count == 0)
            continue;
        const char *name = op_input_name(op->kind, k);
        rng_fill_normal(rng_key(seed, RNG_TEST, 0, (uint32_t)k), in[k], count);
        for (int64_t i = 0; i < count; i++)
            in[k][i] = input_value(op, name, in[k][i], i, magnitude);
    }
}
