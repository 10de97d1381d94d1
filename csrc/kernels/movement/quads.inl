// Body of GatherQuads, compiled once for each instruction set (quads_<isa>.cpp); the compiler vectorises it.
void gather_quads(const uint32_t* const src[4], const int shift[4], uint32_t* dst, int64_t n) {
  const uint32_t *a = src[0], *b = src[1], *c = src[2], *d = src[3];
  const int sa = shift[0], sb = shift[1], sc = shift[2], sd = shift[3];
#pragma GCC ivdep  // a step's output never overlaps its inputs
  for (int64_t i = 0; i < n; ++i) {
    dst[i] = ((a[i] >> sa) & 255u) | ((b[i] >> sb) & 255u) << 8 | ((c[i] >> sc) & 255u) << 16 | ((d[i] >> sd) & 255u) << 24;
  }
}
