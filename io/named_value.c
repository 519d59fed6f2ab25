#include "io/named_value.h"

NamedValue value_integer(const char *name, int64_t integer) {
    return (NamedValue){.name = name, .type = VALUE_INTEGER, .integer = integer};
}

NamedValue value_unsigned(const char *name, uint64_t unsigned_integer) {
    return (NamedValue){.name = name, .type = VALUE_UNSIGNED, .unsigned_integer = unsigned_integer};
}

NamedValue value_number(const char *name, double number) {
    return (NamedValue){.name = name, .type = VALUE_NUMBER, .number = number};
}

NamedValue value_boolean(const char *name, bool boolean) {
    return (NamedValue){.name = name, .type = VALUE_BOOLEAN, .boolean = boolean};
}

NamedValue value_text(const char *name, const char *text) {
    return (NamedValue){.name = name, .type = VALUE_TEXT, .text = text};
}

NamedValue value_json(const char *name, const char *json) {
    return (NamedValue){.name = name, .type = VALUE_JSON, .text = json};
}
