#include "clip_sampler.hpp"
