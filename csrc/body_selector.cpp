#include "body_selector.hpp"
