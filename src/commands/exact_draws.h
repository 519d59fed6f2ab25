/* The sampler "exact" of exact priors: draws from the exact posterior, which all other samplers are compared
 * with. */
#ifndef COMMANDS_EXACT_DRAWS_H
#define COMMANDS_EXACT_DRAWS_H

#include "diffusion/generate.h"
#include "diffusion/prior.h"

#define EXACT_SAMPLER "exact"

/* The posterior of the mask used last: units that share a mask follow each other, and it is dear to make.
 * Zero-initialise; free with exact_draws_release. */
typedef struct ExactDraws {
    ExactPosterior *posterior;
    float *mask; /* (pixels) */
} ExactDraws;

/* The posterior sampler of this name for draws from the prior (NULL: from a network); *sampler is NULL for
 * exact. STATUS_BAD_INPUT: there is none; the message names those there are. */
Status exact_draws_find(const Prior *prior, const char *name, const Sampler **sampler);

/* Makes `exact` the posterior given this observation; sigma_y is the same in every call. */
Status exact_draws_observe(ExactDraws *exact, const Prior *prior, double sigma_y,
                           const Observation *observation);

/* The samples of generate_samples, by rank 0 of arguments->comm (x_start is not touched: there is none).
 * Collective over that communicator. */
Status exact_draws(ExactDraws *exact, const Prior *prior, double sigma_y, const GenerateArguments *arguments);

void exact_draws_release(ExactDraws *exact);

#endif
