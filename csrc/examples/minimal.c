/* Load a network, run it on zeros, print the largest values of its first output.
 *
 *     example_minimal_c model.lane */
#include <stdio.h>
#include <stdlib.h>

#include "edgelane/edgelane.h"

static int fail(void) {
  fprintf(stderr, "%s\n", edgelane_last_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s model.lane\n", argv[0]);
    return 1;
  }
  edgelane_session* session = NULL;
  if (edgelane_load(argv[1], NULL, &session) != EDGELANE_OK) return fail();

  const size_t input_count = edgelane_input_count(session), output_count = edgelane_output_count(session);
  void** inputs = calloc(input_count + 1, sizeof(void*));
  void** outputs = calloc(output_count + 1, sizeof(void*));
  edgelane_tensor_info info;
  for (size_t i = 0; i < input_count; ++i) {
    if (edgelane_input_info(session, i, &info) != EDGELANE_OK) return fail();
    inputs[i] = calloc(1, info.bytes);
  }
  for (size_t i = 0; i < output_count; ++i) {
    if (edgelane_output_info(session, i, &info) != EDGELANE_OK) return fail();
    outputs[i] = calloc(1, info.bytes);
  }
  if (edgelane_run(session, (const void* const*)inputs, input_count, outputs, output_count) != EDGELANE_OK) return fail();

  if (edgelane_output_info(session, 0, &info) != EDGELANE_OK) return fail();
  printf("edgelane %s, %s, output %s, %zu bytes\n", edgelane_version(), edgelane_isa(session), info.name, info.bytes);
  if (info.dtype == EDGELANE_FLOAT32) {
    const float* values = outputs[0];
    const size_t count = info.bytes / sizeof(float);
    float previous = 0.0f;
    for (int rank = 0; rank < 5 && (size_t)rank < count; ++rank) {
      size_t best = count;
      for (size_t i = 0; i < count; ++i) {
        const int below = rank == 0 || values[i] < previous;
        if (below && (best == count || values[i] > values[best])) best = i;
      }
      if (best == count) break;
      printf("%8zu  %g\n", best, values[best]);
      previous = values[best];
    }
  }

  for (size_t i = 0; i < input_count; ++i) free(inputs[i]);
  for (size_t i = 0; i < output_count; ++i) free(outputs[i]);
  free(inputs);
  free(outputs);
  edgelane_free(session);
  return 0;
}
