/* Cancelling through the C ABI, by a program in plain C: before a call, during one, and from a signal
 * handler. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "include/memcore.h"

static int passed = 0, failed = 0;

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (condition) {                                                            \
            ++passed;                                                               \
        } else {                                                                    \
            ++failed;                                                               \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                           \
    } while (0)

enum { COUNT = 24, SIDE = 32, BYTES = SIDE * SIDE * 3, VERTICES = 400 };

static uint32_t state = 1;

static uint32_t next_random(void) {
    state = state * 1664525u + 1013904223u;
    return state >> 16;
}

/* Random edges: the largest clique of the graph takes hours. */
static int32_t* make_edges(size_t* count) {
    int32_t* edges = malloc(sizeof(int32_t) * VERTICES * VERTICES);
    size_t made = 0;
    for (int32_t i = 0; i < VERTICES; ++i) {
        for (int32_t j = i + 1; j < VERTICES; ++j) {
            if (next_random() % 100 >= 85) continue;
            edges[made++] = i;
            edges[made++] = j;
        }
    }
    *count = made / 2;
    return edges;
}

static memcore_cancel* cancel = NULL;

static void handle(int number) {
    (void)number;
    memcore_cancel_set(cancel, 1);
}

static void* set_flag(void* milliseconds) {
    /* Until the other thread is in its call, as far as that can be known. */
    volatile uint64_t turns = (uint64_t)(intptr_t)milliseconds * 100000;
    while (turns-- != 0) {
    }
    memcore_cancel_set(cancel, 1);
    return NULL;
}

/* What each call that computes returns; pointers to results must be NULL where it is cancelled. */
static void check_calls(memcore_status wanted) {
    static uint8_t pixels[COUNT * BYTES];
    static uint64_t ssd[COUNT * COUNT];
    static uint32_t narrow[COUNT * COUNT];
    static float distances[COUNT * COUNT];
    static int64_t indices[COUNT * 3];
    for (size_t k = 0; k < sizeof(pixels); ++k) pixels[k] = (uint8_t)next_random();

    memcore_images images;
    memcore_batch batch;
    memcore_rows rows;
    CHECK(memcore_images_init(&images, pixels, COUNT, SIDE, SIDE, 3, MEMCORE_CHANNELS_LAST) == MEMCORE_OK);
    CHECK(memcore_batch_init(&batch, pixels, MEMCORE_UINT8, 1, COUNT, SIDE, SIDE, 3, MEMCORE_CHANNELS_LAST) ==
          MEMCORE_OK);
    CHECK(memcore_rows_init(&rows, pixels, COUNT, BYTES) == MEMCORE_OK);
    CHECK(memcore_tiled_l2_ssd(&images, NULL, 8, 8, ssd, COUNT * COUNT, 1) == wanted);
    CHECK(memcore_tiled_l2_ssd32(&images, NULL, 8, 8, narrow, COUNT * COUNT, 2) == wanted);
    CHECK(memcore_batch_tiled_l2_ssd(&batch, NULL, 8, 8, ssd, COUNT * COUNT, 1) == wanted);
    CHECK(memcore_batch_tiled_l2_ssd32(&batch, NULL, 8, 8, narrow, COUNT * COUNT, 1) == wanted);
    CHECK(memcore_batch_tiled_l2(&batch, NULL, 8, 8, distances, COUNT * COUNT, 1) == wanted);
    CHECK(memcore_knn(&rows, &rows, 3, ssd, indices, COUNT * 3, 2) == wanted);

    memcore_graph* graph = NULL;
    CHECK(memcore_tiled_l2_graph(&images, 8, 8, 10000000, 0, 2, &graph) == wanted);
    CHECK((graph == NULL) == (wanted != MEMCORE_OK));
    memcore_graph_free(graph);
    CHECK(memcore_tiled_l2_edges(&images, 8, 8, 10000000, 0, 1, &graph) == wanted);
    CHECK((graph == NULL) == (wanted != MEMCORE_OK));
    memcore_graph_free(graph);

    memcore_features* features = NULL;
    CHECK(memcore_features_new(8, 8, &features) == MEMCORE_OK);
    CHECK(memcore_features_append(features, &images, NULL, 0, 2) == wanted);
    CHECK(memcore_features_count(features) == (wanted == MEMCORE_OK ? COUNT : 0));
    memcore_features_free(features);
}

static void check_cliques(const int32_t* edges, size_t edge_count, int threads) {
    memcore_cliques* cliques = NULL;
    const int32_t sizes[2] = {VERTICES, VERTICES};
    const int64_t offsets[3] = {0, (int64_t)edge_count, 2 * (int64_t)edge_count};
    int32_t* twice = malloc(sizeof(int32_t) * 4 * edge_count);
    memcpy(twice, edges, sizeof(int32_t) * 2 * edge_count);
    memcpy(twice + 2 * edge_count, edges, sizeof(int32_t) * 2 * edge_count);
    CHECK(memcore_max_clique(VERTICES, edges, edge_count, INT64_MAX, &cliques) == MEMCORE_ERROR_CANCELLED);
    CHECK(cliques == NULL);
    CHECK(strstr(memcore_last_error(), "cancelled") != NULL);
    CHECK(memcore_find_cliques(VERTICES, edges, edge_count, 5, INT64_MAX, &cliques) ==
          MEMCORE_ERROR_CANCELLED);
    CHECK(cliques == NULL);
    CHECK(memcore_max_cliques(2, sizes, offsets, twice, 2 * edge_count, 0, INT64_MAX, threads, &cliques) ==
          MEMCORE_ERROR_CANCELLED);
    CHECK(cliques == NULL);
    free(twice);
}

int main(void) {
    size_t edge_count = 0;
    int32_t* const edges = make_edges(&edge_count);
    memcore_cliques* cliques = NULL;
    pthread_t other;

    CHECK(memcore_cancel_new(NULL) == MEMCORE_ERROR_NULL);
    CHECK(memcore_cancel_new(&cancel) == MEMCORE_OK && cancel != NULL);
    CHECK(memcore_cancel_is_set(cancel) == 0 && memcore_cancel_is_set(NULL) == 0);
    memcore_cancel_set(NULL, 1);
    CHECK(strcmp(memcore_status_name(MEMCORE_ERROR_CANCELLED), "MEMCORE_ERROR_CANCELLED") == 0);

    memcore_cancel_set(cancel, 1); /* nobody uses it yet */
    check_calls(MEMCORE_OK);
    CHECK(memcore_cancel_use(cancel) == MEMCORE_OK);
    check_calls(MEMCORE_ERROR_CANCELLED);
    check_cliques(edges, edge_count, 1);
    check_cliques(edges, edge_count, 2);
    memcore_cancel_set(cancel, 0);
    CHECK(memcore_cancel_is_set(cancel) == 0);
    check_calls(MEMCORE_OK);

    CHECK(pthread_create(&other, NULL, set_flag, (void*)(intptr_t)50) == 0);
    CHECK(memcore_max_clique(VERTICES, edges, edge_count, INT64_MAX, &cliques) == MEMCORE_ERROR_CANCELLED);
    CHECK(pthread_join(other, NULL) == 0);

    memcore_cancel_set(cancel, 0);
    CHECK(signal(SIGTERM, handle) != SIG_ERR && raise(SIGTERM) == 0);
    CHECK(memcore_cancel_is_set(cancel) == 1);
    check_calls(MEMCORE_ERROR_CANCELLED);

    CHECK(memcore_cancel_use(NULL) == MEMCORE_OK);
    check_calls(MEMCORE_OK);
    CHECK(memcore_cancel_use(cancel) == MEMCORE_OK);
    memcore_cancel_free(cancel); /* the calling thread uses none afterwards */
    check_calls(MEMCORE_OK);
    memcore_cancel_free(NULL);
    free(edges);
    printf("cancelling in C: %d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
