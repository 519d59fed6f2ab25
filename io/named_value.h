/* A named value: an attribute of an HDF5 file or an entry of a JSON file. */
#ifndef IO_NAMED_VALUE_H
#define IO_NAMED_VALUE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum ValueType {
    VALUE_INTEGER,
    VALUE_UNSIGNED, /* 64-bit seeds: in JSON a string, since JSON numbers are doubles */
    VALUE_NUMBER,   /* in JSON a non-finite number becomes the string "nan", "inf" or "-inf" */
    VALUE_BOOLEAN,
    VALUE_TEXT,
    VALUE_JSON, /* text that holds a JSON value: nested in a JSON file, a string in an HDF5 file */
} ValueType;

/* `name` and `text` are borrowed. In a JSON file a dot in the name nests: "missing.rmse". */
typedef struct NamedValue {
    const char *name;
    ValueType type;
    union {
        int64_t integer;
        uint64_t unsigned_integer;
        double number;
        bool boolean;
        const char *text;
    };
} NamedValue;

NamedValue value_integer(const char *name, int64_t integer);
NamedValue value_unsigned(const char *name, uint64_t unsigned_integer);
NamedValue value_number(const char *name, double number);
NamedValue value_boolean(const char *name, bool boolean);
NamedValue value_text(const char *name, const char *text);
NamedValue value_json(const char *name, const char *json);

#endif
