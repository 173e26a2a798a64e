#include "skeleton_parser.hpp"
