/* One small exact prior of each kind, and what they are made from. */
#ifndef TESTS_PRIOR_RIG_H
#define TESTS_PRIOR_RIG_H

#include "diffusion/prior.h"
#include "diffusion/schedule.h"

enum { PRIOR_CASE_STEPS = 300, PRIOR_CASE_COUNT = 4, PRIOR_CASE_IMAGES = 200 };
enum { CASE_GAUSSIAN, CASE_MIXTURE, CASE_CLASSES, CASE_EMPIRICAL };

extern const PriorSettings PRIOR_CASES[PRIOR_CASE_COUNT];
extern const PriorImages prior_case_images; /* of prior_cases_fill */

void prior_cases_fill(void);
Schedule *prior_case_schedule(void); /* linear; owned by the caller */
Prior *prior_case(int kind);         /* likewise */

/* x_t of sample n: a draw of the prior, noised. */
void prior_case_noised(const Prior *prior, const Schedule *schedule, int64_t t, uint32_t n, float *x);

#endif
