#include "model/describe.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The figure: boxes on a grid of our own, pinned for Graphviz's neato, since no layout engine finds the U.
 * The image's path runs in columns, a new one for each box; a box that halves the image hangs below its
 * predecessor, and the box after one that doubles it stands above. Rows are resolutions. The timestep's path
 * is one box and a bus above all. */

enum { UNIT_NONE = -1 };

/* Nodes [first, last] of the graph drawn as one box. */
typedef struct Unit {
    int first, last;
    bool image;  /* depends on x_t; else it belongs to the timestep's path */
    bool join;   /* a concatenation */
    bool timed;  /* reads the timestep's path */
    bool forked; /* a skip connection starts here */
    int from;    /* the unit before it on the image's path */
    int skip;    /* a join's other source */
    int column, row;
    double x, y; /* inches */
    char name[GRAPH_NAME_LENGTH];
} Unit;

typedef struct Drawing {
    const Graph *graph;
    FILE *stream;
    bool *image; /* (graph values) depends on x_t */
    int *owner;  /* (graph values) unit that computes it, or UNIT_NONE */
    int unit_count;
    Unit *units;
} Drawing;

static const double column_inches = 2.3, row_inches = 2.75, fork_inches = 1.3, bus_inches = 1.75;
static const double input_inches = 2.0, output_inches = 1.75; /* between a box and the ellipse beside it */

#define MAIN_COLOUR "#1f2933"
#define TIME_COLOUR "#2563eb"
#define SKIP_COLOUR "#c2410c"
#define NOTE_COLOUR "#7b8794"

/* ---- units ---- */

/* Length of the module's path: the name up to its last dot, or 0. */
static size_t module_length(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? (size_t)(dot - name) : 0;
}

static bool same_module(const Node *a, const Node *b) {
    size_t length = module_length(a->name);
    return length > 0 && length == module_length(b->name) && memcmp(a->name, b->name, length) == 0;
}

static bool changes_resolution(const Node *node) {
    return node->op.inputs[0].d[1] != node->op.outputs[0].d[1] && node->op.outputs[0].d[1] > 1;
}

static bool node_reads_image(const Drawing *d, const Node *node) {
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        if (node->inputs[i] != GRAPH_NONE && d->image[graph_root(d->graph, node->inputs[i])])
            return true;
    return false;
}

static void mark_image_values(Drawing *d) {
    d->image[d->graph->input] = true;
    for (int n = 0; n < d->graph->forward_nodes; n++) {
        const Node *node = &d->graph->nodes[n];
        bool image = node_reads_image(d, node);
        for (int i = 0; i < OP_MAX_OUTPUTS; i++)
            if (node->outputs[i] != GRAPH_NONE)
                d->image[node->outputs[i]] = image;
    }
}

/* Whether node `n` continues the unit: the timestep's path is one unit, and so is a module. */
static bool continues(const Drawing *d, const Unit *unit, int n) {
    const Node *node = &d->graph->nodes[n], *first = &d->graph->nodes[unit->first];
    if (!unit->image)
        return !node_reads_image(d, node);
    return same_module(first, node) && node->op.kind != OP_CONCAT && !unit->join &&
           !changes_resolution(node) && !changes_resolution(first);
}

static void name_unit(const Drawing *d, Unit *unit) {
    const char *name = d->graph->nodes[unit->first].name;
    size_t length = unit->first == unit->last || !unit->image ? 0 : module_length(name);
    snprintf(unit->name, sizeof unit->name, "%.*s", (int)(length ? length : strlen(name)), name);
}

static void find_units(Drawing *d) {
    const Graph *g = d->graph;
    for (int n = 0; n < g->forward_nodes; n++) {
        Unit *last = d->unit_count ? &d->units[d->unit_count - 1] : NULL;
        if (!last || !continues(d, last, n)) {
            last = &d->units[d->unit_count++];
            *last = (Unit){.first = n, .from = UNIT_NONE, .skip = UNIT_NONE};
            last->image = node_reads_image(d, &g->nodes[n]);
            last->join = g->nodes[n].op.kind == OP_CONCAT;
        }
        last->last = n;
        for (int i = 0; i < OP_MAX_OUTPUTS; i++)
            if (g->nodes[n].outputs[i] != GRAPH_NONE)
                d->owner[g->nodes[n].outputs[i]] = d->unit_count - 1;
    }
    for (int u = 0; u < d->unit_count; u++)
        name_unit(d, &d->units[u]);
}

static void connect_value(Drawing *d, int u, int value) {
    Unit *unit = &d->units[u];
    int owner = value == GRAPH_NONE ? UNIT_NONE : d->owner[graph_root(d->graph, value)];
    if (owner == UNIT_NONE || owner == u)
        return;
    if (!d->units[owner].image) {
        unit->timed = true;
    } else if (unit->from == UNIT_NONE) {
        unit->from = owner;
    } else if (owner != unit->from) {
        unit->skip = owner;
        d->units[owner].forked = true;
    }
}

static void connect_units(Drawing *d) {
    for (int u = 0; u < d->unit_count; u++)
        for (int n = d->units[u].first; n <= d->units[u].last; n++)
            for (int i = 0; i < OP_MAX_INPUTS; i++)
                connect_value(d, u, d->graph->nodes[n].inputs[i]);
}

/* ---- places ---- */

static int64_t unit_height(const Drawing *d, int u) {
    return d->graph->nodes[d->units[u].last].op.outputs[0].d[1];
}

static void place_units(Drawing *d) {
    int column = 0, row = 0, previous = UNIT_NONE;
    bool doubled = false;
    for (int u = 0; u < d->unit_count; u++) {
        Unit *unit = &d->units[u];
        if (!unit->image)
            continue;
        int64_t before = previous == UNIT_NONE ? unit_height(d, u) : unit_height(d, previous);
        if (unit_height(d, u) < before) {
            row++;
        } else if (unit_height(d, u) > before) {
            column++;
        } else if (doubled) {
            row--;
        } else if (previous == UNIT_NONE || !d->units[previous].join) {
            column++;
        }
        doubled = unit_height(d, u) > before;
        unit->column = column;
        unit->row = row;
        unit->x = column * column_inches;
        unit->y = -row * row_inches - (unit->join ? fork_inches : 0);
        previous = u;
    }
}

/* ---- text ---- */

__attribute__((format(printf, 2, 3))) static void emit(const Drawing *d, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(d->stream, format, arguments);
    va_end(arguments);
}

static void emit_shape(const Drawing *d, Shape shape) {
    if (shape.d[1] > 1 || shape.d[2] > 1)
        emit(d, "%lld&times;%lld&times;", (long long)shape.d[1], (long long)shape.d[2]);
    emit(d, "%lld", (long long)shape.d[3]);
}

static const char *leaf_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

static void emit_convolution(const Drawing *d, const Node *node, const char *word) {
    const OpAttributes *a = &node->op.attributes;
    emit(d, "%s %d&times;%d", word, a->kernel, a->kernel);
    if (a->stride > 1)
        emit(d, ", stride %d", a->stride);
}

/* What a convolution adds to its result: its block's input, or what another node of the block computes. */
static void emit_addend(const Drawing *d, int u, const Node *node) {
    int addend = node_input(node, "addend");
    if (addend != GRAPH_NONE)
        emit(d, ", + %s", d->owner[addend] == u ? leaf_name(d->graph->values[addend].name) : "input");
}

static void emit_operation(const Drawing *d, int u, const Node *node) {
    switch (node->op.kind) {
    case OP_TIME_EMBEDDING:
        emit(d, "sines, cosines of t: %lld", (long long)node->op.outputs[0].d[3]);
        break;
    case OP_LINEAR:
        emit(d, "linear %lld &rarr; %lld", (long long)node->op.inputs[0].d[3],
             (long long)node->op.outputs[0].d[3]);
        break;
    case OP_SILU:
        emit(d, "SiLU");
        break;
    case OP_CONV2D:
        emit_convolution(d, node, "conv");
        emit_addend(d, u, node);
        break;
    case OP_CONV_TRANSPOSE2D:
        emit_convolution(d, node, "transposed conv");
        break;
    case OP_GROUP_NORM:
        emit(d, "GroupNorm %d%s", node->op.attributes.groups, node->op.attributes.silu ? ", SiLU" : "");
        break;
    default:
        emit(d, "%s", op_name(node->op.kind));
    }
}

static int64_t unit_parameters(const Drawing *d, const Unit *unit) {
    int64_t count = 0;
    for (int n = unit->first; n <= unit->last; n++)
        for (int i = 0; i < OP_MAX_INPUTS; i++) {
            int value = d->graph->nodes[n].inputs[i];
            if (value != GRAPH_NONE && d->graph->values[value].kind == VALUE_PARAMETER)
                count += shape_count(d->graph->values[value].shape);
        }
    return count;
}

/* ---- boxes ---- */

/* The timestep's share of a block is added to the activations on their way into the next GroupNorm. */
static void emit_row(const Drawing *d, int u, int n) {
    const Unit *unit = &d->units[u];
    const Node *node = &d->graph->nodes[n];
    bool added = unit->image && !d->image[node->outputs[0]];
    emit(d, "<tr>");
    if (unit->first != unit->last)
        emit(d, "<td align=\"left\"><font color=\"" NOTE_COLOUR "\">%s</font></td>",
             unit->image ? leaf_name(node->name) : node->name);
    emit(d, "<td align=\"left\"><font color=\"%s\">%s", added || !unit->image ? TIME_COLOUR : MAIN_COLOUR,
         added ? "+ " : "");
    emit_operation(d, u, node);
    emit(d, "</font></td></tr>");
}

/* 90560 as "90.6 k". */
static void emit_count(const Drawing *d, int64_t count) {
    if (count < 1000)
        emit(d, "%lld", (long long)count);
    else if (count < 1000000)
        emit(d, "%.3g k", (double)count * 1e-3);
    else
        emit(d, "%.3g M", (double)count * 1e-6);
}

static void emit_box(const Drawing *d, int u, double x, double y) {
    const Unit *unit = &d->units[u];
    const char *colour = !unit->image ? TIME_COLOUR : MAIN_COLOUR;
    const char *fill = !unit->image ? "#dbeafe" : unit->timed ? "#e4e7eb" : "#f5f7fa";
    emit(d, "  u%d [pos=\"%.3f,%.3f!\" label=<<table border=\"1\" cellborder=\"0\" cellspacing=\"0\" ", u, x,
         y);
    emit(d, "cellpadding=\"2\" color=\"%s\" bgcolor=\"white\">", colour);
    emit(d, "<tr><td colspan=\"2\" bgcolor=\"%s\"><b>%s</b></td></tr>", fill, unit->name);
    for (int n = unit->first; n <= unit->last; n++)
        emit_row(d, u, n);
    emit(d, "<tr><td colspan=\"2\" sides=\"t\" border=\"1\" color=\"#cbd2d9\"><b>");
    emit_shape(d, d->graph->nodes[unit->last].op.outputs[0]);
    emit(d, "</b> <font color=\"" NOTE_COLOUR "\">&middot; ");
    emit_count(d, unit_parameters(d, unit));
    emit(d, "</font></td></tr></table>>]\n");
}

static void emit_join(const Drawing *d, int u) {
    const Unit *unit = &d->units[u];
    emit(d,
         "  u%d [pos=\"%.3f,%.3f!\" shape=box style=\"rounded,filled\" fillcolor=\"#ffedd5\" color=\"%s\" ",
         u, unit->x, unit->y, SKIP_COLOUR);
    emit(d, "margin=\"0.06,0.02\" height=0.22 label=<concat <b>");
    emit_shape(d, d->graph->nodes[unit->last].op.outputs[0]);
    emit(d, "</b>>]\n");
}

static void emit_terminal(const Drawing *d, const char *id, const char *label, int value, double x, double y,
                          const char *colour) {
    emit(d, "  %s [pos=\"%.3f,%.3f!\" shape=ellipse margin=0 color=\"%s\" fontcolor=\"%s\" ", id, x, y,
         colour, colour);
    emit(d,
         "label=<<table border=\"0\" cellspacing=\"0\" cellpadding=\"1\"><tr><td><i>%s</i></td></tr><tr><td>",
         label);
    emit_shape(d, d->graph->values[value].shape);
    emit(d, "</td></tr></table>>]\n");
}

/* Where a skip connection leaves, and what it carries. */
static void emit_fork(const Drawing *d, int u) {
    const Unit *unit = &d->units[u];
    double y = -unit->row * row_inches - fork_inches;
    emit(d, "  f%d [pos=\"%.3f,%.3f!\" shape=point width=0.07 color=\"%s\"]\n", u, unit->x, y, SKIP_COLOUR);
    emit(d, "  s%d [pos=\"%.3f,%.3f!\" fontcolor=\"%s\" label=<skip <b>", u, unit->x + column_inches / 2,
         y + 0.12, SKIP_COLOUR);
    emit_shape(d, d->graph->nodes[unit->last].op.outputs[0]);
    emit(d, "</b>>]\n");
}

/* In the corner that the U leaves free. */
static void emit_legend(const Drawing *d) {
    int lowest = 0;
    for (int u = 0; u < d->unit_count; u++)
        if (d->units[u].row > lowest)
            lowest = d->units[u].row;
    emit(d, "  legend [pos=\"%.3f,%.3f!\" label=<<table border=\"0\" cellspacing=\"0\" cellpadding=\"2\">",
         column_inches, -lowest * row_inches);
    emit(d, "<tr><td align=\"left\">image path, H&times;W&times;C</td></tr>");
    emit(d, "<tr><td align=\"left\"><font color=\"%s\">skip connection</font></td></tr>", SKIP_COLOUR);
    emit(d, "<tr><td align=\"left\"><font color=\"%s\">timestep path</font></td></tr>", TIME_COLOUR);
    emit(d,
         "<tr><td align=\"left\"><font color=\"%s\">foot of a box: output shape &middot; "
         "parameters</font></td></tr>",
         NOTE_COLOUR);
    emit(d, "</table>>]\n");
}

static void emit_boxes(const Drawing *d, double last_x) {
    double time_x = column_inches;
    emit_terminal(d, "x_t", "x<sub>t</sub>", d->graph->input, time_x - input_inches, 0, MAIN_COLOUR);
    emit_terminal(d, "t", "t", d->graph->timesteps, time_x - input_inches, bus_inches, TIME_COLOUR);
    emit_terminal(d, "eps", "&epsilon;&#770;", d->graph->output, last_x + output_inches, 0, MAIN_COLOUR);
    for (int u = 0; u < d->unit_count; u++) {
        const Unit *unit = &d->units[u];
        if (unit->join)
            emit_join(d, u);
        else if (unit->image)
            emit_box(d, u, unit->x, unit->y);
        else
            emit_box(d, u, time_x, bus_inches);
        if (unit->forked)
            emit_fork(d, u);
    }
}

/* ---- lines ---- */

static void emit_main_edge(const Drawing *d, int u) {
    const Unit *unit = &d->units[u], *from = &d->units[unit->from];
    bool below = from->forked && from->column == unit->column;
    if (below)
        emit(d, "  f%d -> u%d\n", unit->from, u);
    else
        emit(d, "  u%d -> u%d\n", unit->from, u);
    if (unit->skip != UNIT_NONE)
        emit(d, "  f%d -> u%d [color=\"%s\" penwidth=1.6]\n", unit->skip, u, SKIP_COLOUR);
}

static void emit_bus(const Drawing *d, int time_unit) {
    int previous = UNIT_NONE;
    for (int u = 0; u < d->unit_count; u++) {
        if (!d->units[u].timed)
            continue;
        emit(d, "  b%d [pos=\"%.3f,%.3f!\" shape=point width=0.05 color=\"%s\"]\n", u, d->units[u].x,
             bus_inches, TIME_COLOUR);
        emit(d, "  %s%d -> b%d [color=\"%s\" dir=none]\n", previous == UNIT_NONE ? "u" : "b",
             previous == UNIT_NONE ? time_unit : previous, u, TIME_COLOUR);
        emit(d, "  b%d -> u%d:n [color=\"%s\"]\n", u, u, TIME_COLOUR);
        previous = u;
    }
}

static void emit_edges(const Drawing *d) {
    int output = d->owner[d->graph->output];
    for (int u = 0; u < d->unit_count; u++) {
        const Unit *unit = &d->units[u];
        if (unit->forked)
            emit(d, "  u%d -> f%d [dir=none]\n", u, u);
        if (!unit->image) {
            emit(d, "  t -> u%d [color=\"%s\"]\n", u, TIME_COLOUR);
            emit_bus(d, u);
        } else if (unit->from == UNIT_NONE) {
            emit(d, "  x_t -> u%d\n", u);
        } else {
            emit_main_edge(d, u);
        }
    }
    emit(d, "  u%d -> eps\n", output);
}

static void emit_drawing(const Drawing *d) {
    char count[DESCRIBE_NUMBER_BYTES];
    double last_x = d->units[d->owner[d->graph->output]].x;
    emit(d, "digraph unet {\n");
    emit(d, "  graph [layout=neato splines=line overlap=true pad=0.15 labelloc=t fontname=\"DejaVu Sans\" "
            "fontsize=16\n");
    emit(d,
         "    label=<&epsilon;<sub>&theta;</sub>(x<sub>t</sub>, t): %s parameters, %.3f GFLOP forward per "
         "image>]\n",
         describe_number(d->graph->parameter_elements, count),
         (double)graph_cost(d->graph).forward / (double)d->graph->values[d->graph->input].shape.d[0] * 1e-9);
    emit(d, "  node [shape=plain fontname=\"DejaVu Sans\" fontsize=10 color=\"%s\" fontcolor=\"%s\"]\n",
         MAIN_COLOUR, MAIN_COLOUR);
    emit(d, "  edge [fontname=\"DejaVu Sans\" fontsize=10 color=\"%s\" arrowsize=0.7]\n", MAIN_COLOUR);
    emit_boxes(d, last_x);
    emit_legend(d);
    emit_edges(d);
    emit(d, "}\n");
}

Status describe_dot(const Graph *graph, char **text) {
    Status status = STATUS_OK;
    Drawing d = {.graph = graph};
    size_t bytes;
    *text = NULL;
    TRY(ALLOCATE(&d.image, graph->value_count));
    TRY(ALLOCATE(&d.owner, graph->value_count));
    TRY(ALLOCATE(&d.units, graph->forward_nodes));
    for (int v = 0; v < graph->value_count; v++)
        d.owner[v] = UNIT_NONE;
    d.stream = open_memstream(text, &bytes);
    if (!d.stream)
        FAIL(STATUS_FAILURE, "out of memory for the schematic");
    mark_image_values(&d);
    find_units(&d);
    connect_units(&d);
    place_units(&d);
    emit_drawing(&d);
done:
    if (d.stream && fclose(d.stream) != 0 && status == STATUS_OK)
        status = status_error(STATUS_FAILURE, "out of memory for the schematic");
    free(d.image);
    free(d.owner);
    free(d.units);
    return status;
}
