/* edgelane's C interface: load a compiled network (.lane file), give it arrays, get arrays.
 *
 * Every function that can fail returns an edgelane_status; the message of the last failure on the calling thread is
 * edgelane_last_error(). Nothing here prints, exits, throws or keeps a caller's pointer after it returns. The caller owns all
 * arrays. A session belongs to one thread at a time; different sessions are independent. In a child of fork() a session goes on
 * with one thread, with the same results. */
#ifndef EDGELANE_H_
#define EDGELANE_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define EDGELANE_API __attribute__((visibility("default")))
#else
#define EDGELANE_API
#endif

#ifdef __cplusplus
#define EDGELANE_NOEXCEPT noexcept
extern "C" {
#else
#define EDGELANE_NOEXCEPT
#endif

typedef enum edgelane_status {
  EDGELANE_OK = 0,
  EDGELANE_INVALID_ARGUMENT = 1, /* a name, shape, dtype or option of the caller, or a session in use by another thread */
  EDGELANE_INVALID_FILE = 2,     /* a .lane file that is damaged, of another version, or not one */
  EDGELANE_NOT_FOUND = 3,        /* a file that is not there or cannot be read */
  EDGELANE_UNSUPPORTED = 4,      /* an instruction set or operator that this build or machine lacks */
  EDGELANE_OUT_OF_MEMORY = 5,
  EDGELANE_SELF_TEST_FAILED = 6 /* this machine's answer differs from the file's golden frame, or the file holds none */
} edgelane_status;

typedef enum edgelane_dtype {
  EDGELANE_FLOAT32 = 0,
  EDGELANE_INT8 = 1,
  EDGELANE_INT32 = 2,
  EDGELANE_INT64 = 3,
  EDGELANE_BOOL = 4, /* one byte: 0 or 1 in outputs; in inputs, all but 0 is true */
  EDGELANE_UINT8 = 5
} edgelane_dtype;

#define EDGELANE_MAX_RANK 6

typedef struct edgelane_session edgelane_session;

typedef struct edgelane_options {
  int threads;     /* 0: one for each of `cores`, or one; the calling thread is the first */
  const char* isa; /* "scalar", "avx2", "avx512", "avx512_vnni"; NULL: the environment's EDGELANE_ISA, else the best one */
  /* "2,3" or "0-3": the CPUs for this session's threads, one for each at least; NULL: the environment's EDGELANE_CORES, else any.
   * The second thread stays on the second CPU and so on; the first CPU is the calling thread's, which is never pinned: pin it
   * yourself (taskset, pthread_setaffinity_np). Sessions with the same cores, or without, share their threads: one that finds
   * them at work for another session runs on its calling thread alone. */
  const char* cores;
  /* 1: run the golden frame of the file once while loading, and refuse with EDGELANE_SELF_TEST_FAILED where an output does not
   * agree with it or the file holds none. */
  int self_test;
  /* What a file may ask for, so that a small one from a stranger cannot take all memory or hours. A larger model fails to load
   * with EDGELANE_INVALID_FILE. Bytes of activations, packed weights and tables together; 0: the environment's
   * EDGELANE_MEMORY_LIMIT, else 4 GiB, or half of the machine's memory where that is less. */
  uint64_t memory_limit_bytes;
  uint64_t operation_limit; /* multiply-accumulates, comparisons and copies of elements of one run; 0: 2^44 */
} edgelane_options;

/* An input or output: a dense row-major array. `name` lives as long as the session. */
typedef struct edgelane_tensor_info {
  const char* name;
  edgelane_dtype dtype;
  int rank;
  int64_t shape[EDGELANE_MAX_RANK];
  size_t bytes;      /* of the whole array */
  int32_t quantized; /* 1: real = scale * (value - zero_point) */
  int32_t zero_point;
  float scale;
  /* 1: shape[0] is the most rows that there can be, as of the boxes that a suppression keeps. The array has that size; rows that
   * are not needed come last and hold -1. */
  int32_t variable_rows;
} edgelane_tensor_info;

/* One step of the network, or the copy of one input or output. Valid as long as its array. */
typedef struct edgelane_profile_row {
  const char* step;   /* the ONNX node's name, or the input's or output's */
  const char* op;     /* "conv2d", "linear" ..., "import", "export" */
  const char* kernel; /* <op>_<dtype>_<tile>_<instruction set> */
  const char* format; /* how the weights are packed: "dense", "4x4" ...; "-" without weights */
  double density;     /* nonzero weights / weights */
  int64_t macs;       /* multiply-accumulates executed */
  int64_t dense_macs;
  double time_us;
} edgelane_profile_row;

/* "0.1.0" */
EDGELANE_API const char* edgelane_version(void) EDGELANE_NOEXCEPT;

/* One line about the last call on this thread that failed, "" when none did. Valid until the next call on this thread. */
EDGELANE_API const char* edgelane_last_error(void) EDGELANE_NOEXCEPT;

/* Reads and checks the file, chooses kernels and packs the weights. options may be NULL. *session is NULL on failure. */
EDGELANE_API edgelane_status edgelane_load(const char* path, const edgelane_options* options,
                                           edgelane_session** session) EDGELANE_NOEXCEPT;

/* The same for a file in memory, which is copied. */
EDGELANE_API edgelane_status edgelane_load_memory(const void* data, size_t bytes, const edgelane_options* options,
                                                  edgelane_session** session) EDGELANE_NOEXCEPT;

/* NULL is allowed. */
EDGELANE_API void edgelane_free(edgelane_session* session) EDGELANE_NOEXCEPT;

EDGELANE_API size_t edgelane_input_count(const edgelane_session* session) EDGELANE_NOEXCEPT;
EDGELANE_API size_t edgelane_output_count(const edgelane_session* session) EDGELANE_NOEXCEPT;
EDGELANE_API edgelane_status edgelane_input_info(const edgelane_session* session, size_t index,
                                                 edgelane_tensor_info* info) EDGELANE_NOEXCEPT;
EDGELANE_API edgelane_status edgelane_output_info(const edgelane_session* session, size_t index,
                                                  edgelane_tensor_info* info) EDGELANE_NOEXCEPT;

/* One array for each input and output in their order, each of edgelane_tensor_info.bytes bytes at any address. Allocates
 * nothing. The same input gives the same output bits every time, whatever the number of threads. */
EDGELANE_API edgelane_status edgelane_run(edgelane_session* session, const void* const* inputs, size_t input_count,
                                          void* const* outputs, size_t output_count) EDGELANE_NOEXCEPT;

/* Times every step: the least of `repeats` runs. *rows is an array of the session with *row_count rows, valid until the session's
 * next edgelane_profile or its end. */
EDGELANE_API edgelane_status edgelane_profile(edgelane_session* session, const void* const* inputs, size_t input_count,
                                              int repeats, const edgelane_profile_row** rows,
                                              size_t* row_count) EDGELANE_NOEXCEPT;

/* Runs the golden frame that the file may hold: *error is the largest difference of an output from what the compiler expected,
 * relative to that output's largest magnitude; *present is 0 where the file holds none. */
EDGELANE_API edgelane_status edgelane_check_golden(edgelane_session* session, double* error, int* present) EDGELANE_NOEXCEPT;

/* The file's metadata, a JSON object: class names, preprocessing, where the network came from. Lives as long as the session. */
EDGELANE_API const char* edgelane_metadata(const edgelane_session* session) EDGELANE_NOEXCEPT;

/* The memory plan as text. Lives as long as the session. */
EDGELANE_API const char* edgelane_plan(const edgelane_session* session) EDGELANE_NOEXCEPT;

/* The instruction set and the number of threads in use. */
EDGELANE_API const char* edgelane_isa(const edgelane_session* session) EDGELANE_NOEXCEPT;
EDGELANE_API int edgelane_threads(const edgelane_session* session) EDGELANE_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* EDGELANE_H_ */
