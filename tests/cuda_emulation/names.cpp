/* Names of functions and places of shared variables, from this program's symbol table; counts by name. */
#include "internal.h"

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

/* Functions and thread-local variables are found by their distance to these. */
extern "C" thread_local char emulated_shared_anchor;
thread_local char emulated_shared_anchor;
extern "C" void emulated_function_anchor(void);
void emulated_function_anchor() {
}

namespace emulation {
namespace {

struct SharedVariable {
    size_t offset, bytes; /* in the program's thread-local memory */
    const char *name;
};

struct Symbols {
    std::map<uintptr_t, const char *> functions;
    std::vector<SharedVariable> shared;
    uintptr_t function_anchor = 0;
    size_t shared_anchor = 0;

    Symbols();
    void add(const Elf64_Sym &symbol, const char *name);
};

void Symbols::add(const Elf64_Sym &symbol, const char *name) {
    if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC) {
        functions[symbol.st_value] = name;
        if (strcmp(name, "emulated_function_anchor") == 0)
            function_anchor = symbol.st_value;
    } else if (ELF64_ST_TYPE(symbol.st_info) == STT_TLS) {
        if (strcmp(name, "emulated_shared_anchor") == 0)
            shared_anchor = symbol.st_value;
        else if (strncmp(name, "_ZZ", 3) == 0) /* a variable of a C++ function */
            shared.push_back({symbol.st_value, symbol.st_size, name});
    }
}

/* The linker took them only if they have something that the emulation has not. */
void refuse_real_libraries(const Elf64_Dyn *entries, const char *names) {
    static const char *const replaced[] = {"libcudart.", "libcudnn.", "libnccl."};
    for (; entries->d_tag != DT_NULL; entries++)
        for (const char *library : replaced)
            if (entries->d_tag == DT_NEEDED &&
                strncmp(names + entries->d_un.d_val, library, strlen(library)) == 0)
                fail("this program uses %s: something that it calls is not emulated",
                     names + entries->d_un.d_val);
}

Symbols::Symbols() {
    struct stat status;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0)
        fail("this program's file cannot be opened");
    void *memory = mmap(nullptr, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (memory == MAP_FAILED)
        fail("this program's file cannot be read");
    const char *image = static_cast<const char *>(memory);
    const Elf64_Ehdr *header = reinterpret_cast<const Elf64_Ehdr *>(image);
    const Elf64_Shdr *sections = reinterpret_cast<const Elf64_Shdr *>(image + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type == SHT_DYNAMIC)
            refuse_real_libraries(reinterpret_cast<const Elf64_Dyn *>(image + sections[i].sh_offset),
                                  image + sections[sections[i].sh_link].sh_offset);
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *symbols = reinterpret_cast<const Elf64_Sym *>(image + sections[i].sh_offset);
        const char *names = image + sections[sections[i].sh_link].sh_offset;
        for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols; k++)
            add(symbols[k], names + symbols[k].st_name);
    }
    if (function_anchor == 0)
        fail("this program has no symbol table: do not strip it");
}

const Symbols &symbols() {
    static const Symbols table;
    return table;
}

std::string demangled(const char *symbol) {
    int status = 0;
    char *text = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
    std::string name = text ? text : symbol;
    free(text);
    return name;
}

/* "group_norm_kernel<float, 4, true>": without the parameters and the unnamed namespace. */
std::string readable(const char *symbol) {
    static const char hidden[] = "(anonymous namespace)::";
    std::string name = demangled(symbol);
    for (size_t at; (at = name.find(hidden)) != std::string::npos;)
        name.erase(at, sizeof hidden - 1);
    if (name.compare(0, 5, "void ") == 0)
        name.erase(0, 5);
    return name.substr(0, name.find('('));
}

/* Of the program's thread-local memory. */
char *shared_base() {
    return &emulated_shared_anchor - symbols().shared_anchor;
}

/* ---- counts ---- */

struct Counts {
    bool wanted;
    std::map<std::string, long> launches;
    std::vector<std::map<std::string, long>> graphs;

    Counts() {
        const char *variable = getenv("CUDA_EMULATION_COUNTS");
        wanted = variable && strcmp(variable, "1") == 0;
    }
    ~Counts();
};

void print_counts(const char *title, const std::map<std::string, long> &counts) {
    long total = 0;
    for (const auto &entry : counts)
        total += entry.second;
    fprintf(stderr, "%s: %ld\n", title, total);
    for (const auto &entry : counts)
        fprintf(stderr, "%8ld  %s\n", entry.second, entry.first.c_str());
}

Counts::~Counts() {
    if (!wanted)
        return;
    print_counts("work that ran", launches);
    for (size_t i = 0; i < graphs.size(); i++) {
        char title[64];
        snprintf(title, sizeof title, "nodes of graph %zu", i);
        print_counts(title, graphs[i]);
    }
}

Counts &counts() {
    static Counts all;
    return all;
}

} // namespace

const std::string &function_name(const void *function) {
    static std::map<const void *, std::string> known;
    std::string &name = known[function];
    if (name.empty()) {
        const Symbols &table = symbols();
        uintptr_t base = reinterpret_cast<uintptr_t>(&emulated_function_anchor) - table.function_anchor;
        auto at = table.functions.find(reinterpret_cast<uintptr_t>(function) - base);
        name = at == table.functions.end() ? "a function without a name" : readable(at->second);
    }
    return name;
}

void poison_static_shared() {
    for (const SharedVariable &variable : symbols().shared)
        memset(shared_base() + variable.offset, 0xff, variable.bytes);
}

const char *static_shared_variables(size_t *bytes) {
    const std::vector<SharedVariable> &shared = symbols().shared;
    size_t begin = ~(size_t)0, end = 0;
    for (const SharedVariable &variable : shared) {
        begin = std::min(begin, variable.offset);
        end = std::max(end, variable.offset + variable.bytes);
    }
    *bytes = shared.empty() ? 0 : end - begin;
    return shared_base() + (shared.empty() ? 0 : begin);
}

std::string place_in_shared_variable(const void *address) {
    char text[64] = "";
    for (const SharedVariable &variable : symbols().shared) {
        const char *begin = shared_base() + variable.offset, *at = static_cast<const char *>(address);
        if (at >= begin && at < begin + variable.bytes) {
            snprintf(text, sizeof text, "byte %zu of the shared variable ", (size_t)(at - begin));
            const std::string name = demangled(variable.name); /* function(parameters)::variable */
            return text + readable(variable.name) + name.substr(name.rfind("::"));
        }
    }
    return text;
}

void count_launch(const void *function) {
    if (counts().wanted)
        counts().launches[function_name(function)]++;
}

void count_graph(const std::vector<const void *> &functions) {
    if (!counts().wanted)
        return;
    counts().graphs.emplace_back();
    for (const void *function : functions)
        counts().graphs.back()[function_name(function)]++;
}

} // namespace emulation
