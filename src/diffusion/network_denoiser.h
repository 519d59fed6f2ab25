/* The trained network behind the denoiser seam. */
#ifndef DIFFUSION_NETWORK_DENOISER_H
#define DIFFUSION_NETWORK_DENOISER_H

#include "diffusion/denoiser.h"
#include "model/network.h"

/* A denoiser that runs `network` (not owned; it must have been loaded and outlive the denoiser). It has a
 * vector-Jacobian product if the network was made with NETWORK_INPUT_GRADIENT. */
Denoiser network_denoiser(Network *network);

#endif
