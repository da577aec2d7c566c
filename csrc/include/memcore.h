/*
 * memcore: exact tiled l2 distances, graphs, cliques and nearest neighbours of images, from C.
 *
 * Nothing is to be set up: any function may be called from any thread at any time, also in a child after
 * fork. Each function that can fail returns a memcore_status; memcore_last_error() then returns a text that
 * says what was wrong. No exception leaves the library, no argument is changed, and nothing is printed.
 *
 * Every argument is checked before anything is read or written: each structure says how many bytes may be
 * read, and each array that is written how many elements it has. A call whose arguments do not fit gives an
 * error, never an access outside of what was given. Where a call fails, pointers to results are set to NULL.
 *
 * Answers are canonical: the same on every machine, instruction set and number of threads. Those of uint8
 * images are exact integers.
 */
#ifndef MEMCORE_H
#define MEMCORE_H

#include <stddef.h>
#include <stdint.h>

/* The release that this header belongs to; memcore_version() gives that of the library. */
#define MEMCORE_VERSION "0.1.0"
/* Changes when a program that was compiled before could not run any more; it is in the library's SONAME. */
#define MEMCORE_ABI_VERSION 1

#if defined(_WIN32) && defined(MEMCORE_BUILD)
#define MEMCORE_API __declspec(dllexport)
#elif defined(_WIN32)
#define MEMCORE_API __declspec(dllimport)
#elif defined(__GNUC__)
#define MEMCORE_API __attribute__((visibility("default")))
#else
#define MEMCORE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What a call returns. New codes may be added, so treat every value but MEMCORE_OK as an error. */
typedef int32_t memcore_status;
enum {
    MEMCORE_OK = 0,
    MEMCORE_ERROR_NULL = 1,     /* a pointer that is needed is NULL */
    MEMCORE_ERROR_VALUE = 2,    /* a number is out of its range, or two arguments do not fit each other */
    MEMCORE_ERROR_OVERFLOW = 3, /* a product of sizes does not fit 64 bits */
    MEMCORE_ERROR_EXTENT = 4,   /* sizes and strides reach beyond the bytes or elements that were given */
    MEMCORE_ERROR_STRIDES = 5,  /* lines of a tile are not contiguous: copy the images first */
    MEMCORE_ERROR_ISA = 6,      /* an instruction set that is unknown, or that this CPU lacks */
    MEMCORE_ERROR_MEMORY = 7,   /* not enough memory */
    MEMCORE_ERROR_INTERNAL = 8, /* a fault of the library; please report it */
    MEMCORE_ERROR_CANCELLED = 9 /* the thread's memcore_cancel was set */
};

/* The constant's name, such as "MEMCORE_ERROR_VALUE"; "unknown" for other numbers. */
MEMCORE_API const char* memcore_status_name(memcore_status status);

/* What was wrong in the calling thread's last call that failed: the argument, what was got, what would do.
 * Empty before the first. Valid until the thread's next failure. */
MEMCORE_API const char* memcore_last_error(void);

MEMCORE_API const char* memcore_version(void);
/* Compare with MEMCORE_ABI_VERSION where the library was loaded by hand. */
MEMCORE_API int32_t memcore_abi_version(void);

/* ------------------------------------------------------------------------------------------------
 * cancelling */

/*
 * A flag that ends calls early. While it is set, a call of a thread that uses it returns
 * MEMCORE_ERROR_CANCELLED within a tenth of a second, for most images within milliseconds; what it has
 * computed is discarded. A call that is nearly done may still return its answer. One flag may serve many
 * threads:
 *
 *     memcore_cancel* cancel;
 *     memcore_cancel_new(&cancel);
 *     memcore_cancel_use(cancel);                    in the thread that computes
 *     memcore_cancel_set(cancel, 1);                 in another thread, or in a signal handler
 */
typedef struct memcore_cancel memcore_cancel;

/* Makes a flag that is not set. */
MEMCORE_API memcore_status memcore_cancel_new(memcore_cancel** cancel);
/* Has the calling thread's calls from now on look at the flag; NULL: at none. */
MEMCORE_API memcore_status memcore_cancel_use(memcore_cancel* cancel);
/* Sets the flag, or clears it where `set` is 0. Does nothing for NULL. Safe from any thread and from signal
 * handlers. */
MEMCORE_API void memcore_cancel_set(memcore_cancel* cancel, int32_t set);
/* 1 where it is set; 0 for NULL. */
MEMCORE_API int32_t memcore_cancel_is_set(const memcore_cancel* cancel);
/* NULL is allowed. No thread may use the flag any more, except for the calling one, which then uses none. */
MEMCORE_API void memcore_cancel_free(memcore_cancel* cancel);

/* ------------------------------------------------------------------------------------------------
 * instruction sets */

/* The instruction sets that this build has and this CPU can run, weakest first: "scalar", "avx2",
 * "avx512vnni", "amxint8", "neon_dotprod". memcore_isa_name gives NULL for index >= memcore_isa_count(). */
MEMCORE_API size_t memcore_isa_count(void);
MEMCORE_API const char* memcore_isa_name(size_t index);
/* The one that the calling thread's next call will use: its own choice, else the environment's MEMCORE_ISA,
 * else the strongest. MEMCORE_ERROR_ISA where MEMCORE_ISA names one that cannot run. */
MEMCORE_API memcore_status memcore_isa_active(const char** name);
/* The calling thread's own choice, for tests and measurements; NULL removes it. */
MEMCORE_API memcore_status memcore_isa_select(const char* name);
/* NULL where the thread made no choice. */
MEMCORE_API const char* memcore_isa_selected(void);

/* CPUs that the calling thread may run on: what `threads` = 0 means below. */
MEMCORE_API int32_t memcore_usable_cpus(void);

/* ----------------------------------------------------------------------------------------------------------
 * images */

/*
 * A set of `count` images of height x width pixels of `channels` bytes (1 to 4), read in place.
 * The byte (image i, row y, column x, channel c) is at
 *     data[offset + i * image_stride + y * row_stride + x * column_stride + c * channel_stride],
 * and all of them must lie in data[0 .. data_bytes). Strides are bytes and may be negative, but not 0 where
 * there is more than one. Pixels must be interleaved (channel_stride 1, column_stride `channels`) or each row
 * of a channel contiguous (column_stride 1).
 */
typedef struct memcore_images {
    size_t struct_size; /* sizeof(memcore_images) */
    const uint8_t* data;
    size_t data_bytes;
    size_t offset;
    size_t count, height, width, channels;
    ptrdiff_t image_stride, row_stride, column_stride, channel_stride;
} memcore_images;

enum { MEMCORE_CHANNELS_LAST = 0, MEMCORE_CHANNELS_FIRST = 1 };

/* Describes images that follow one another without gaps: (count, height, width, channels), or with
 * MEMCORE_CHANNELS_FIRST (count, channels, height, width). */
MEMCORE_API memcore_status memcore_images_init(memcore_images* images, const uint8_t* data, size_t count,
                                               size_t height, size_t width, size_t channels, int32_t layout);

/* What the elements of a memcore_batch are. */
enum { MEMCORE_UINT8 = 0, MEMCORE_FLOAT32 = 1, MEMCORE_FLOAT16 = 2, MEMCORE_BFLOAT16 = 3 };

/*
 * `batches` sets of `count` images each, of uint8 or of numbers in [0, 1], read in place. As in
 * memcore_images, offset and strides are bytes, the element (batch b, image i, row y, column x, channel c)
 * begins at
 *     data + offset + b * batch_stride + i * image_stride + y * row_stride + x * column_stride
 *          + c * channel_stride,
 * and all of them must lie in the data_bytes bytes from data on. Elements need no alignment. Pixels must be
 * interleaved without gaps or each row of a channel contiguous.
 */
typedef struct memcore_batch {
    size_t struct_size; /* sizeof(memcore_batch) */
    const void* data;
    size_t data_bytes;
    size_t offset;
    int32_t type; /* MEMCORE_UINT8, MEMCORE_FLOAT32, MEMCORE_FLOAT16 or MEMCORE_BFLOAT16 */
    size_t batches, count, height, width, channels;
    ptrdiff_t batch_stride, image_stride, row_stride, column_stride, channel_stride;
} memcore_batch;

/* Describes elements that follow one another without gaps: (batches, count, height, width, channels), or with
 * MEMCORE_CHANNELS_FIRST (batches, count, channels, height, width). */
MEMCORE_API memcore_status memcore_batch_init(memcore_batch* batch, const void* data, int32_t type,
                                              size_t batches, size_t count, size_t height, size_t width,
                                              size_t channels, int32_t layout);

/* --------------------------------------------------------------------------------------------------
 * distances */

/*
 * For each pair of images the largest tile's ssd, the sum of squared differences of its bytes. Tiles of
 * tile_height x tile_width pixels cut the images without a rest; K = tile_height * tile_width * channels is a
 * tile's number of bytes. Without `other` (NULL): ssd[i * count + j], symmetric. With it: ssd[i *
 * other->count + j]. `capacity` is the number of elements of ssd; threads 0 means all usable CPUs.
 */
MEMCORE_API memcore_status memcore_tiled_l2_ssd(const memcore_images* images, const memcore_images* other,
                                                size_t tile_height, size_t tile_width, uint64_t* ssd,
                                                size_t capacity, int32_t threads);
/* As memcore_tiled_l2_ssd, in half the memory, for K <= 66051, where every ssd fits. */
MEMCORE_API memcore_status memcore_tiled_l2_ssd32(const memcore_images* images, const memcore_images* other,
                                                  size_t tile_height, size_t tile_width, uint32_t* ssd,
                                                  size_t capacity, int32_t threads);

/*
 * As memcore_tiled_l2_ssd, for many sets of uint8 images in one call: ssd[(b * count + i) * count + j], or
 * with `other`, which must have as many batches, ssd[(b * count + i) * other->count + j].
 */
MEMCORE_API memcore_status memcore_batch_tiled_l2_ssd(const memcore_batch* images, const memcore_batch* other,
                                                      size_t tile_height, size_t tile_width, uint64_t* ssd,
                                                      size_t capacity, int32_t threads);
MEMCORE_API memcore_status memcore_batch_tiled_l2_ssd32(const memcore_batch* images,
                                                        const memcore_batch* other, size_t tile_height,
                                                        size_t tile_width, uint32_t* ssd, size_t capacity,
                                                        int32_t threads);
/*
 * Distances of images of any type, in the same order. uint8: memcore_distance of each ssd. Float: the largest
 * tile's sqrt(sum (x - y)^2 / K), by direct differences that are added in a fixed order. Both sides must have
 * one type. MEMCORE_ERROR_VALUE where a float is NaN or outside [0, 1].
 */
MEMCORE_API memcore_status memcore_batch_tiled_l2(const memcore_batch* images, const memcore_batch* other,
                                                  size_t tile_height, size_t tile_width, float* distances,
                                                  size_t capacity, int32_t threads);

/* sqrt(ssd / (K * 255^2)) in [0, 1]; NaN for K = 0. */
MEMCORE_API float memcore_distance(uint64_t ssd, uint64_t tile_bytes);
/* The largest ssd whose distance is at most `threshold` in [0, 1], by exact arithmetic:
 * floor(threshold^2 * 255^2 * K). The number means the shortest decimal that reads back as it, so 0.15
 * is 15/100. */
MEMCORE_API memcore_status memcore_ssd_max(double threshold, uint64_t tile_bytes, uint64_t* ssd_max);

/* ----------------------------------------------------------------------------------------------------------
 * graphs */

/* Edges of a thresholded graph; made by the functions below, freed by memcore_graph_free. */
typedef struct memcore_graph memcore_graph;

/*
 * The pairs i < j whose largest tile's ssd is at most ssd_max. Most pairs are sorted out by bounds on block
 * sums, the rest is decided in integers: the same edges as from all distances, for a fraction of the work.
 * min_clique: 0 for all edges. From 3 on, edges that cannot lie in a clique of that many images are left out.
 */
MEMCORE_API memcore_status memcore_tiled_l2_graph(const memcore_images* images, size_t tile_height,
                                                  size_t tile_width, uint64_t ssd_max, size_t min_clique,
                                                  int32_t threads, memcore_graph** graph);
/*
 * The edges alone, without their ssd: memcore_graph_ssd returns NULL for such a graph. Where many images are
 * alike, upper bounds and distances to a third image decide most pairs, in a fraction of the time.
 */
MEMCORE_API memcore_status memcore_tiled_l2_edges(const memcore_images* images, size_t tile_height,
                                                  size_t tile_width, uint64_t ssd_max, size_t min_clique,
                                                  int32_t threads, memcore_graph** graph);
MEMCORE_API size_t memcore_graph_edge_count(const memcore_graph* graph);
/* edge_count pairs (i, j), i < j, ascending; valid until the graph is freed. NULL where there are none. */
MEMCORE_API const int32_t* memcore_graph_edges(const memcore_graph* graph);
/* The ssd of each edge, in the same order; NULL where there are none, or edges alone were requested. */
MEMCORE_API const uint64_t* memcore_graph_ssd(const memcore_graph* graph);
/* NULL is allowed, here and in the three functions before. */
MEMCORE_API void memcore_graph_free(memcore_graph* graph);

/* clang-format off */
/*
 * A graph that grows with its images. memcore_features holds the block sums of images that arrive one after
 * the other; memcore_features_graph decides the pairs with those that are new; memcore_graph_merge puts the
 * old edges and the new ones together:
 *
 *     for (;;) {
 *         ... `count` images more follow the `seen` others; `fresh` describes them, `all` all of them ...
 *         memcore_features_append(features, &fresh, NULL, 0, threads);
 *         memcore_features_graph(features, &all, ssd_max, seen, 0, threads, &edges);
 *         memcore_graph_merge(graph, edges, &larger);
 *         memcore_graph_free(graph), memcore_graph_free(edges);
 *         graph = larger, seen += count;
 *     }
 */
/* clang-format on */
typedef struct memcore_features memcore_features;

/* For tiles of that many pixels; freed by memcore_features_free. */
MEMCORE_API memcore_status memcore_features_new(size_t tile_height, size_t tile_width,
                                                memcore_features** features);
/*
 * Reads images once, in order, after those of earlier calls. All must have one height, width and number
 * of channels; strides may differ. Where `copies` is not NULL they are also written there, one after the
 * other, channels last, while they are in the cache: count * height * width * channels bytes, at most
 * `copies_bytes`, outside of what `images` describes. If the call fails, none was appended. Calls with the
 * same features wait for one another.
 */
MEMCORE_API memcore_status memcore_features_append(memcore_features* features, const memcore_images* images,
                                                   uint8_t* copies, size_t copies_bytes, int32_t threads);
/* How many images were appended; 0 for NULL. */
MEMCORE_API size_t memcore_features_count(const memcore_features* features);
/*
 * As memcore_tiled_l2_graph, by features that were taken before. `images` are all that were appended, in that
 * order, with the same pixels. Only pairs i < j with j >= since are looked at, where since <= images->count;
 * with since > 0 min_clique must be at most 2, since a part of the pairs says nothing of cliques.
 */
MEMCORE_API memcore_status memcore_features_graph(const memcore_features* features,
                                                  const memcore_images* images, uint64_t ssd_max,
                                                  size_t since, size_t min_clique, int32_t threads,
                                                  memcore_graph** graph);
/* NULL is allowed. */
MEMCORE_API void memcore_features_free(memcore_features* features);

/* The edges of both, ascending; NULL means a graph without edges. MEMCORE_ERROR_VALUE where an edge is
 * in both, or has no ssd. */
MEMCORE_API memcore_status memcore_graph_merge(const memcore_graph* first, const memcore_graph* second,
                                               memcore_graph** merged);

/* ---------------------------------------------------------------------------------------------------------
 * cliques */

/* What is known of a clique and of the largest one: lower <= clique number <= upper. */
typedef struct memcore_clique {
    size_t struct_size;     /* sizeof(memcore_clique) */
    const int32_t* members; /* ascending; valid until the memcore_cliques are freed */
    size_t size;
    int64_t lower, upper;
    int32_t proven; /* 1: none is larger, and members are the lexicographically smallest of the largest */
    int64_t nodes;  /* of the search: its work */
} memcore_clique;

typedef struct memcore_cliques memcore_cliques;

/*
 * The largest clique of the graph on vertices 0 .. n - 1 with the edges (edges[2e], edges[2e + 1]), where
 * 0 <= first < second < n, in any order. One clique, with size 0 where n is 0.
 * node_limit ends the search: a measure of work that is the same on every machine. 10,000,000 is plenty.
 */
MEMCORE_API memcore_status memcore_max_clique(int64_t n, const int32_t* edges, size_t edge_count,
                                              int64_t node_limit, memcore_cliques** cliques);
/* Vertex-disjoint cliques of at least min_size >= 2, largest first: the largest, then the largest of the
 * vertices that remain, and so on. node_limit is for all of them together. */
MEMCORE_API memcore_status memcore_find_cliques(int64_t n, const int32_t* edges, size_t edge_count,
                                                int64_t min_size, int64_t node_limit,
                                                memcore_cliques** cliques);
/*
 * The largest clique of each of many graphs, in parallel: graph g has sizes[g] vertices, 0 .. sizes[g] - 1,
 * and the edges offsets[g] .. offsets[g + 1] - 1, each as above. There are graph_count sizes and graph_count
 * + 1 offsets, ascending from 0 to edge_count. Clique g of the answer is that of graph g. node_limit is for
 * each graph. min_size 0 asks for the largest cliques whatever their size; from 2 on, a graph that has none
 * of min_size may get the empty clique with upper = min_size - 1, mostly without a search.
 */
MEMCORE_API memcore_status memcore_max_cliques(size_t graph_count, const int32_t* sizes,
                                               const int64_t* offsets, const int32_t* edges,
                                               size_t edge_count, int64_t min_size, int64_t node_limit,
                                               int32_t threads, memcore_cliques** cliques);
/* 0 for NULL. */
MEMCORE_API size_t memcore_cliques_count(const memcore_cliques* cliques);
/* The most members that a clique of the vertices not in `cliques` could have. After memcore_find_cliques,
 * below min_size exactly where node_limit did not end the search: no further clique was missed. After
 * memcore_max_cliques the largest `upper` of all graphs. 0 for NULL. */
MEMCORE_API int64_t memcore_cliques_upper_of_rest(const memcore_cliques* cliques);
/* Fills `clique`, whose struct_size must be set. */
MEMCORE_API memcore_status memcore_cliques_get(const memcore_cliques* cliques, size_t index,
                                               memcore_clique* clique);
/* NULL is allowed. */
MEMCORE_API void memcore_cliques_free(memcore_cliques* cliques);

/* ---------------------------------------------------------------------------------------------- nearest
 * neighbours */

/* `count` rows of `dimension` bytes; byte k of row i is at data[offset + i * stride + k]. */
typedef struct memcore_rows {
    size_t struct_size; /* sizeof(memcore_rows) */
    const uint8_t* data;
    size_t data_bytes;
    size_t offset;
    size_t count, dimension;
    ptrdiff_t stride;
} memcore_rows;

/* Describes rows that follow one another without gaps. */
MEMCORE_API memcore_status memcore_rows_init(memcore_rows* rows, const uint8_t* data, size_t count,
                                             size_t dimension);

/*
 * The k rows of `corpus` nearest to each query, nearest first, ties by the smaller index: ssd[q * k + r] and
 * indices[q * k + r]. 1 <= k <= corpus->count; `capacity` is the number of elements of both arrays.
 */
MEMCORE_API memcore_status memcore_knn(const memcore_rows* queries, const memcore_rows* corpus, size_t k,
                                       uint64_t* ssd, int64_t* indices, size_t capacity, int32_t threads);

#ifdef __cplusplus
}
#endif

#endif /* MEMCORE_H */
