// What a function is compiled for.
#pragma once

#ifdef __CUDACC__
#define KANTORCH_DEVICE __device__ __forceinline__
#define KANTORCH_BOTH __host__ __device__ inline
#define KANTORCH_UNROLL _Pragma("unroll")  // so that arrays stay in registers
#define KANTORCH_ROLL _Pragma("unroll 1")
#define KANTORCH_FRESH(x) \
  asm volatile("" : "+r"(x))  // what is computed from x is not kept from before
#else
#define KANTORCH_DEVICE inline
#define KANTORCH_BOTH inline
#define KANTORCH_UNROLL
#define KANTORCH_ROLL
#define KANTORCH_FRESH(x)
#endif
