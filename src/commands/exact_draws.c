#include "commands/exact_draws.h"

#include <stdlib.h>
#include <string.h>

Status exact_draws_find(const Prior *prior, const char *name, const Sampler **sampler) {
    char names[256];
    *sampler = NULL;
    if (strcmp(name, EXACT_SAMPLER) != 0) {
        if (sampler_find(name, SAMPLER_POSTERIOR, sampler) == STATUS_OK)
            return STATUS_OK;
        return status_error(STATUS_BAD_INPUT, "unknown posterior sampler \"%s\", expected one of %s%s", name,
                            prior ? EXACT_SAMPLER ", " : "", sampler_names(SAMPLER_POSTERIOR, names));
    }
    if (!prior)
        return status_error(
            STATUS_BAD_INPUT,
            "sampler %s: the exact posterior of a network is not known: expected --prior NAME, or "
            "one of %s",
            name, sampler_names(SAMPLER_POSTERIOR, names));
    return STATUS_OK;
}

Status exact_draws_observe(ExactDraws *exact, const Prior *prior, double sigma_y,
                           const Observation *observation) {
    Status status = STATUS_OK;
    size_t bytes = (size_t)(observation->height * observation->width) * sizeof(float);
    if (!exact->mask || memcmp(exact->mask, observation->mask, bytes) != 0) {
        exact_draws_release(exact);
        TRY(ALLOCATE(&exact->mask, observation->height * observation->width));
        memcpy(exact->mask, observation->mask, bytes);
        TRY(exact_posterior_create(prior, observation->mask, sigma_y, &exact->posterior));
    }
    TRY(exact_posterior_observe(exact->posterior, observation->y));
done:
    if (status != STATUS_OK)
        exact_draws_release(exact);
    return status;
}

static Status draw_all(ExactDraws *exact, const Prior *prior, double sigma_y,
                       const GenerateArguments *arguments) {
    Status status = STATUS_OK;
    int64_t pixels = prior_pixels(prior);
    for (int64_t i = 0; i < arguments->count; i++) {
        if (arguments->progress)
            arguments->progress(arguments->progress_context, i, arguments->count);
        if (arguments->stop && *arguments->stop)
            FAIL(STATUS_INTERRUPTED, "interrupted while sampling");
        if (i == 0 || arguments->observations[i] != arguments->observations[i - 1])
            TRY(exact_draws_observe(exact, prior, sigma_y, arguments->observations[i]));
        TRY(exact_posterior_draw(exact->posterior, arguments->seeds[i], arguments->rng_samples[i],
                                 arguments->samples + i * pixels, NULL));
    }
done:
    return status;
}

Status exact_draws(ExactDraws *exact, const Prior *prior, double sigma_y,
                   const GenerateArguments *arguments) {
    Status status = STATUS_OK;
    if (comm_rank(arguments->comm) == 0)
        status = draw_all(exact, prior, sigma_y, arguments);
    return comm_agree(arguments->comm, status);
}

void exact_draws_release(ExactDraws *exact) {
    exact_posterior_destroy(exact->posterior);
    free(exact->mask);
    *exact = (ExactDraws){0};
}
