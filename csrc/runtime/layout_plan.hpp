// How each activation lies in memory: the border that its consumers' taps need, and one pitch for all that steps connect.
#pragma once

#include <vector>

#include "runtime/model.hpp"

namespace edgelane {

// By tensor index. Weights get the description without a layout. Throws Error(invalid_file) where an activation takes more than
// the model's limits allow.
std::vector<TensorDesc> plan_layouts(const Model& model);

// The border that `step`, a conv2d, reads around its input x.
Border border_of_conv2d(const Model& model, const Step& step);

// By tensor index: is it an activation, that is a step's input or output that is not packed as a weight?
std::vector<bool> find_activations(const Model& model);

}  // namespace edgelane
