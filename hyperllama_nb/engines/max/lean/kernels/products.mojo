"""Products of a few rows with a matrix that is read from memory once, for CPUs.

At a few rows the time of a product is the time of reading the matrix. Processors read ahead well
along a few long streams, so each thread walks through its share of the matrix as `STREAMS` streams
that are far apart, each of them row after row, and all rows of the input meet a weight while it is
in a register. The sums of a row are added in the same order whatever the number of rows is.
"""

import extensibility
from extensibility import InputTensor, OutputTensor
from linalg.matmul import matmul
from max.algorithm import sync_parallelize
from max.gpu.host import DeviceContext
from max.runtime.asyncrt import parallelism_level
from std.sys import simd_width_of
from std.sys.intrinsics import PrefetchOptions, prefetch

comptime WIDTH = simd_width_of[DType.float32]()

# As many sums as stay in registers: of 32 with AVX-512, of 16 where vectors are shorter.
comptime ROWS = 8 if WIDTH >= 16 else 4
comptime STREAMS = 3 if WIDTH >= 16 else 2

# Numbers ahead of the one that is read, which the processor is to fetch meanwhile.
comptime AHEAD = 128


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
def all_dots[
    streams: Int
](
    x: ImmPointer[Float32, _],
    matrix: ImmPointer[Float32, _],
    y: MutPointer[Float32, _],
    rows: Int,
    inputs: Int,
    outputs: Int,
    apart: Int,
):
    """Do the same for any number of rows, of which the matrix's are in a cache after the first."""
    var done = 0
    while done + ROWS <= rows:
        dots[ROWS, streams](
            x.unsafe_offset(done * inputs),
            matrix,
            y.unsafe_offset(done * outputs),
            inputs,
            outputs,
            apart,
        )
        done += ROWS
    comptime for left in range(1, ROWS):
        if rows - done == left:
            dots[left, streams](
                x.unsafe_offset(done * inputs),
                matrix,
                y.unsafe_offset(done * outputs),
                inputs,
                outputs,
                apart,
            )


@inline(.never)
def few_rows(
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

    def part(task: Int) {imm}:
        var start = task * share
        var end = min(start + share, outputs)
        var apart = max(end - start, 0) // STREAMS
        for place in range(start, start + apart):
            all_dots[STREAMS](
                x,
                matrix.unsafe_offset(place * inputs),
                y.unsafe_offset(place),
                rows,
                inputs,
                outputs,
                apart,
            )
        for place in range(start + apart * STREAMS, end):
            all_dots[1](
                x,
                matrix.unsafe_offset(place * inputs),
                y.unsafe_offset(place),
                rows,
                inputs,
                outputs,
                0,
            )

    sync_parallelize(part, tasks)


@extensibility.register("hyperllama.product")
struct Product[few: Int]:
    """`x` [rows, inputs] times `matrix` [outputs, inputs] turned: [rows, outputs], in float32.

    More than `few` rows are multiplied by MAX's own product.
    """

    @staticmethod
    def execute(
        output: OutputTensor[dtype=DType.float32, rank=2, ...],
        x: InputTensor[dtype=DType.float32, rank=2, ...],
        matrix: InputTensor[dtype=DType.float32, rank=2, ...],
        context: DeviceContext,
    ) raises:
        var rows = x.dim_size(0)
        if rows > Self.few:
            matmul[transpose_b=True](
                output.to_tile_tensor[DType.int64](),
                x.to_tile_tensor[DType.int64](),
                matrix.to_tile_tensor[DType.int64](),
                context,
            )
            return
        few_rows(
            x.unsafe_ptr(),
            matrix.unsafe_ptr(),
            output.unsafe_ptr(),
            rows,
            x.dim_size(1),
            matrix.dim_size(0),
        )
