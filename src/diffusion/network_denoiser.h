/* The trained network behind the denoiser seam. */
#ifndef DIFFUSION_NETWORK_DENOISER_H
#define DIFFUSION_NETWORK_DENOISER_H

#include "diffusion/denoiser.h"
#include "model/network.h"

/* A denoiser that runs `network` (not owned; it must have been loaded and outlive the denoiser). */
Denoiser network_denoiser(Network *network);

#endif
