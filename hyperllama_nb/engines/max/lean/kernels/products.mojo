"""Products with a matrix that is read from memory once, for CPUs.

At a few rows the time of a product is the time of reading the matrix. Processors read ahead well
along a few long streams, so each thread walks through its share of the matrix as `STREAMS` streams
that are far apart, each of them row after row, and `ROWS` rows of the input meet a weight while it
is in a register. Where there are more of them, a block of the matrix stays in the second cache
until it has met all. A row's sums are added in the same order whatever the number of rows is, so
its numbers are the same to the last bit.
"""

import extensibility
from extensibility import InputTensor, OutputTensor
from max.algorithm import sync_parallelize
from max.runtime.asyncrt import parallelism_level
from std.sys import simd_width_of
from std.sys.intrinsics import PrefetchOptions, prefetch

comptime WIDTH = simd_width_of[DType.float32]()

# As many sums as stay in registers: of 32 with AVX-512, of 16 where vectors are shorter.
comptime ROWS = 8 if WIDTH >= 16 else 4
comptime STREAMS = 3

# Numbers ahead of the one that is read, which the processor is to fetch meanwhile.
comptime AHEAD = 128

# Bytes of a block of the matrix: a part of the second cache.
comptime BLOCK = 1 << 17


@inline(.always)
def dots[
    rows: Int, streams: Int
](
    x: ImmPointer[Float32, _],
    matrix: ImmPointer[Float32, _],
    y: MutPointer[Float32, _],
    inputs: Int,
    outputs: Int,
    apart: Int,
):
    """Multiply `rows` rows of `x` with the matrix's row of each stream, `apart` rows apart."""
    var sums = Array[SIMD[DType.float32, WIDTH], rows * streams](fill=0)
    var even = inputs // WIDTH * WIDTH
    for i in range(0, even, WIDTH):
        var weights = Array[SIMD[DType.float32, WIDTH], streams](fill=0)
        comptime for stream in range(streams):
            var place = matrix.unsafe_offset(stream * apart * inputs + i)
            prefetch[PrefetchOptions().for_read().high_locality().to_data_cache()](
                place.unsafe_offset(AHEAD)
            )
            weights[stream] = place.unsafe_load[width=WIDTH]()
        comptime for row in range(rows):
            var given = x.unsafe_load[width=WIDTH](row * inputs + i)
            comptime for stream in range(streams):
                sums[row * streams + stream] += given * weights[stream]
    comptime for row in range(rows):
        comptime for stream in range(streams):
            var total = sums[row * streams + stream].reduce_add()
            for i in range(even, inputs):
                var weight = matrix.unsafe_load(stream * apart * inputs + i)
                total += x.unsafe_load(row * inputs + i) * weight
            y.unsafe_store(row * outputs + stream * apart, total)


@inline(.always)
def block[
    streams: Int
](
    x: ImmPointer[Float32, _],
    matrix: ImmPointer[Float32, _],
    y: MutPointer[Float32, _],
    rows: Int,
    inputs: Int,
    outputs: Int,
    apart: Int,
    count: Int,
):
    """Multiply all rows of `x` with the next `count` of the matrix's rows in each stream."""
    var done = 0
    while done + ROWS <= rows:
        for place in range(count):
            dots[ROWS, streams](
                x.unsafe_offset(done * inputs),
                matrix.unsafe_offset(place * inputs),
                y.unsafe_offset(done * outputs + place),
                inputs,
                outputs,
                apart,
            )
        done += ROWS
    comptime for left in range(1, ROWS):
        if rows - done == left:
            for place in range(count):
                dots[left, streams](
                    x.unsafe_offset(done * inputs),
                    matrix.unsafe_offset(place * inputs),
                    y.unsafe_offset(done * outputs + place),
                    inputs,
                    outputs,
                    apart,
                )


@inline(.never)
def multiply(
    x: ImmPointer[Float32, ImmutAnyOrigin],
    matrix: ImmPointer[Float32, ImmutAnyOrigin],
    y: MutPointer[Float32, MutAnyOrigin],
    rows: Int,
    inputs: Int,
    outputs: Int,
) raises:
    """Write the product to `y`; apart from `Product`, which is compiled for each shape anew."""
    var tasks = parallelism_level(None)
    var share = (outputs + tasks - 1) // tasks
    var size = max(BLOCK // (4 * STREAMS * inputs), 1)

    def part(task: Int) {imm}:
        var start = task * share
        var end = min(start + share, outputs)
        var apart = max(end - start, 0) // STREAMS
        for place in range(start, start + apart, size):
            block[STREAMS](
                x,
                matrix.unsafe_offset(place * inputs),
                y.unsafe_offset(place),
                rows,
                inputs,
                outputs,
                apart,
                min(size, start + apart - place),
            )
        var rest = start + apart * STREAMS
        if rest < end:
            block[1](
                x,
                matrix.unsafe_offset(rest * inputs),
                y.unsafe_offset(rest),
                rows,
                inputs,
                outputs,
                0,
                end - rest,
            )

    sync_parallelize(part, tasks)


@extensibility.register("hyperllama.product")
struct Product:
    """`x` [rows, inputs] times `matrix` [outputs, inputs] turned: [rows, outputs], in float32."""

    @staticmethod
    def execute(
        output: OutputTensor[dtype=DType.float32, rank=2, ...],
        x: InputTensor[dtype=DType.float32, rank=2, ...],
        matrix: InputTensor[dtype=DType.float32, rank=2, ...],
    ) raises:
        multiply(
            x.unsafe_ptr(),
            matrix.unsafe_ptr(),
            output.unsafe_ptr(),
            x.dim_size(0),
            x.dim_size(1),
            matrix.dim_size(0),
        )
