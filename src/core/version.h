/* The program's version and the commit it was built from. */
#ifndef CORE_VERSION_H
#define CORE_VERSION_H

#include "version_generated.h"

#endif
