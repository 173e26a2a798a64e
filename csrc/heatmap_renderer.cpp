#include "heatmap_renderer.hpp"
