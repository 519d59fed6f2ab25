#include "io/metrics.h"

#include <cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/number_text.h"

static const int64_t largest_exact_integer = (int64_t)1 << 53; /* of a double, which JSON numbers are */

enum { KEY_BYTES = 128 };

/* A new item, owned by the caller; NULL if memory is short or VALUE_JSON is no JSON. */
static cJSON *make_item(const NamedValue *value) {
    char text[NUMBER_TEXT_BYTES];
    switch (value->type) {
    case VALUE_INTEGER:
        snprintf(text, sizeof text, "%" PRId64, value->integer);
        return value->integer > largest_exact_integer || value->integer < -largest_exact_integer
                   ? cJSON_CreateString(text)
                   : cJSON_CreateRaw(text);
    case VALUE_UNSIGNED:
        snprintf(text, sizeof text, "%" PRIu64, value->unsigned_integer);
        return cJSON_CreateString(text);
    case VALUE_NUMBER:
        return cJSON_CreateRaw(number_text(value->number, text));
    case VALUE_BOOLEAN:
        return cJSON_CreateBool(value->boolean);
    case VALUE_TEXT:
        return cJSON_CreateString(value->text);
    case VALUE_JSON:
        return cJSON_Parse(value->text);
    }
    return NULL;
}

/* Adds the value under its name; each dot of the name leads into a nested object. */
static Status add_value(cJSON *object, const NamedValue *value) {
    const char *key = value->name;
    for (const char *dot; (dot = strchr(key, '.')); key = dot + 1) {
        char part[KEY_BYTES];
        snprintf(part, sizeof part, "%.*s", (int)(dot - key), key);
        cJSON *nested = cJSON_GetObjectItemCaseSensitive(object, part);
        if (!nested)
            nested = cJSON_AddObjectToObject(object, part);
        if (!cJSON_IsObject(nested))
            return status_error(STATUS_FAILURE, "metric %s: \"%s\" is no object", value->name, part);
        object = nested;
    }
    cJSON *item = make_item(value);
    if (!item || !cJSON_AddItemToObject(object, key, item)) {
        cJSON_Delete(item);
        return status_error(STATUS_FAILURE, "metric %s: cannot make its JSON value", value->name);
    }
    return STATUS_OK;
}

Status named_values_json(int count, const NamedValue *values, char **json) {
    Status status = STATUS_OK;
    char *text = NULL;
    cJSON *root = cJSON_CreateObject();
    *json = NULL;
    if (!root)
        FAIL(STATUS_FAILURE, "out of memory");
    for (int i = 0; i < count; i++)
        TRY(add_value(root, &values[i]));
    text = cJSON_Print(root);
    if (!text)
        FAIL(STATUS_FAILURE, "out of memory");
    size_t length = strlen(text);
    TRY(ALLOCATE(json, (long long)length + 2));
    memcpy(*json, text, length);
    (*json)[length] = '\n';
done:
    cJSON_free(text);
    cJSON_Delete(root);
    return status;
}

void named_value_text(const char *json, const char *name, char *text, size_t bytes) {
    cJSON *root = cJSON_Parse(json);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, name);
    snprintf(text, bytes, "%s", cJSON_IsString(item) ? item->valuestring : "");
    cJSON_Delete(root);
}

Status metrics_write(const char *path, int count, const NamedValue *values) {
    Status status = STATUS_OK;
    char *json = NULL;
    TRY(named_values_json(count, values, &json));
    TRY(file_write(path, json, strlen(json), FILE_REPLACE));
done:
    free(json);
    return status;
}
