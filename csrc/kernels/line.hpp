// Finds the lines of a kernels.inc that a source file defines, for the kernel_lines.hpp of a family. EDGELANE_LINE(id) is
// EDGELANE_DEFINE where the file has defined EDGELANE_LINE_<id> as EDGELANE_DEFINE, and else a macro that drops the line, so
// that no file has to know the instruction sets of the others. Macros alone: files with instruction-set flags include it.
#pragma once

#define EDGELANE_DROP_LINE(...)
#define EDGELANE_SECOND(first, second, ...) second
#define EDGELANE_LINE(id) EDGELANE_LINE_EXPANDED(EDGELANE_LINE_##id)
#define EDGELANE_LINE_EXPANDED(value) EDGELANE_LINE_MATCHED(value)
#define EDGELANE_LINE_MATCHED(value) EDGELANE_LINE_CHOSEN(EDGELANE_IS_##value, EDGELANE_DROP_LINE, )
#define EDGELANE_LINE_CHOSEN(...) EDGELANE_SECOND(__VA_ARGS__)
