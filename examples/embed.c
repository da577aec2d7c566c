/*
 * Near-duplicate groups from C: the exact graph of a set of images and its cliques.
 *
 *   cc -std=c99 embed.c $(pkg-config --cflags --libs memcore) -o embed      (docs/embedding.md)
 *   ./embed                                                twelve images made here, five of them near-copies
 *   ./embed FILE COUNT HEIGHT WIDTH CHANNELS [THRESHOLD]   raw bytes (count, height, width, channels)
 */
#include <memcore.h>
#include <stdio.h>
#include <stdlib.h>

enum { GRID = 4, MIN_CLIQUE = 3, NODE_LIMIT = 10000000 };

static int failed(memcore_status status, const char* what) {
    if (status == MEMCORE_OK) return 0;
    fprintf(stderr, "%s: %s: %s\n", what, memcore_status_name(status), memcore_last_error());
    return 1;
}

/* Images of noise from a small generator; images 3, 4, 5, 8 and 11 are one image with a little noise. */
static void make_images(uint8_t* pixels, size_t count, size_t bytes) {
    uint32_t state = 1;
    size_t i, k;
    for (i = 0; i < count; ++i) {
        for (k = 0; k < bytes; ++k) {
            state = state * 1664525u + 1013904223u;
            pixels[i * bytes + k] = (uint8_t)(state >> 24);
        }
        if (i == 4 || i == 5 || i == 8 || i == 11) {
            for (k = 0; k < bytes; ++k) {
                const int noise = (int)(pixels[i * bytes + k] % 7) - 3;
                const int value = (int)pixels[3 * bytes + k] + noise;
                pixels[i * bytes + k] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
            }
        }
    }
}

static uint8_t* read_images(const char* path, size_t bytes) {
    FILE* file = fopen(path, "rb");
    uint8_t* pixels = file == NULL ? NULL : malloc(bytes);
    if (pixels != NULL && fread(pixels, 1, bytes, file) != bytes) {
        free(pixels);
        pixels = NULL;
    }
    if (file != NULL) fclose(file);
    if (pixels == NULL) fprintf(stderr, "cannot read %lu bytes of %s\n", (unsigned long)bytes, path);
    return pixels;
}

static int report(const memcore_images* images, double threshold) {
    const size_t tile_height = images->height / GRID, tile_width = images->width / GRID;
    const uint64_t tile_bytes = tile_height * tile_width * images->channels;
    memcore_graph* graph = NULL;
    memcore_cliques* cliques = NULL;
    const int32_t* edges;
    const uint64_t* ssd;
    uint64_t ssd_max;
    size_t e, c, m;
    int bad = 1;

    if (images->height % GRID != 0 || images->width % GRID != 0) {
        fprintf(stderr, "%lu x %lu pixels cannot be cut into %d x %d tiles\n", (unsigned long)images->height,
                (unsigned long)images->width, GRID, GRID);
        return 1;
    }
    if (failed(memcore_ssd_max(threshold, tile_bytes, &ssd_max), "memcore_ssd_max")) return 1;
    if (failed(memcore_tiled_l2_graph(images, tile_height, tile_width, ssd_max, 0, 0, &graph),
               "memcore_tiled_l2_graph"))
        return 1;
    edges = memcore_graph_edges(graph);
    ssd = memcore_graph_ssd(graph);
    printf("%lu images, %lu edges\n", (unsigned long)images->count,
           (unsigned long)memcore_graph_edge_count(graph));
    for (e = 0; e < memcore_graph_edge_count(graph); ++e) {
        printf("%ld %ld %.9g\n", (long)edges[2 * e], (long)edges[2 * e + 1],
               memcore_distance(ssd[e], tile_bytes));
    }
    if (failed(memcore_find_cliques((int64_t)images->count, edges, memcore_graph_edge_count(graph),
                                    MIN_CLIQUE, NODE_LIMIT, &cliques),
               "memcore_find_cliques"))
        goto done;
    for (c = 0; c < memcore_cliques_count(cliques); ++c) {
        memcore_clique clique;
        clique.struct_size = sizeof(clique);
        if (failed(memcore_cliques_get(cliques, c, &clique), "memcore_cliques_get")) goto done;
        printf("clique of %lu%s:", (unsigned long)clique.size, clique.proven ? "" : " (not proven)");
        for (m = 0; m < clique.size; ++m) printf(" %ld", (long)clique.members[m]);
        printf("\n");
    }
    bad = 0;
done:
    memcore_cliques_free(cliques);
    memcore_graph_free(graph);
    return bad;
}

int main(int argc, char** argv) {
    size_t size[4] = {12, 32, 32, 3}, bytes = 1;
    uint8_t* pixels;
    memcore_images images;
    int k, bad;

    if (memcore_abi_version() != MEMCORE_ABI_VERSION) {
        fprintf(stderr, "the library has ABI %ld, this program was made for %d\n",
                (long)memcore_abi_version(), MEMCORE_ABI_VERSION);
        return 1;
    }
    if (argc != 1 && argc != 6 && argc != 7) {
        fprintf(stderr, "usage: %s [FILE COUNT HEIGHT WIDTH CHANNELS [THRESHOLD]]\n", argv[0]);
        return 2;
    }
    for (k = 0; argc > 1 && k < 4; ++k) size[k] = (size_t)strtoul(argv[2 + k], NULL, 10);
    for (k = 0; k < 4; ++k) {
        if (size[k] == 0 || bytes > (size_t)-1 / size[k]) {
            fprintf(stderr, "sizes must be positive, and their product must fit an address\n");
            return 2;
        }
        bytes *= size[k];
    }
    pixels = argc > 1 ? read_images(argv[1], bytes) : malloc(bytes);
    if (pixels == NULL) return 1;
    if (argc == 1) make_images(pixels, size[0], bytes / size[0]);
    bad = failed(
              memcore_images_init(&images, pixels, size[0], size[1], size[2], size[3], MEMCORE_CHANNELS_LAST),
              "memcore_images_init") ||
          report(&images, argc == 7 ? strtod(argv[6], NULL) : 0.15);
    free(pixels);
    return bad;
}
