/* A stand-in for libnvidia-ml.so.1 that answers from a text file.
 *
 * The file "nvml-state.txt" lies in the folder of the built library and is read on every nvmlInit. Lines:
 *   init CODE            what nvmlInit answers (0 = success, 9 = driver not loaded, 18 = version mismatch ...)
 *   init hang            nvmlInit never returns
 *   init crash           nvmlInit ends the process with SIGSEGV
 *   init chatter         nvmlInit succeeds and writes a line of its own to standard output
 *   driver TEXT
 *   cuda NUMBER          what nvmlSystemGetCudaDriverVersion_v2 answers, 12080 for 12.8; "not supported" without it
 *   memory_v2 CODE       what nvmlDeviceGetMemoryInfo_v2 answers
 *   utilisation PERCENT  what nvmlDeviceGetUtilizationRates answers for all GPUs; "not supported" without it
 *   gpu UUID HANDLE_CODE MEMORY_CODE TOTAL_MIB FREE_MIB RESERVED_MIB MIG NAME...
 *   mig UUID MEMORY_CODE TOTAL_MIB FREE_MIB      an instance of the gpu line above it
 * Structure layouts and codes follow NVIDIA's public NVML API reference.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, MAX = 32 };
static const unsigned long long MIB = 1ULL << 20;

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory_v2;

typedef struct device {
    char uuid[96], name[96];
    int handle_code, memory_code, mig, instances;
    unsigned long long total, free, reserved;
    struct device *instance[8];
} device;

static device pool[MAX];
static device *gpus[MAX];
static int pool_used, gpu_count, init_code, memory_v2_code, cuda, utilisation;
static char driver[80], init_action[32];

static void state_path(char *path, size_t size) {
    Dl_info here;
    dladdr((void *)state_path, &here);
    snprintf(path, size, "%s", here.dli_fname);
    char *slash = strrchr(path, '/');
    snprintf(slash + 1, size - (size_t)(slash + 1 - path), "nvml-state.txt");
}

static void read_line(const char *line) {
    device *made = &pool[pool_used];
    memset(made, 0, sizeof *made);
    if (sscanf(line, "init %31s", init_action) == 1) {
        if (sscanf(init_action, "%d", &init_code) != 1) init_code = 0;
    } else if (sscanf(line, "driver %79s", driver) == 1) {
    } else if (sscanf(line, "cuda %d", &cuda) == 1) {
    } else if (sscanf(line, "utilisation %d", &utilisation) == 1) {
    } else if (sscanf(line, "memory_v2 %d", &memory_v2_code) == 1) {
    } else if (sscanf(line, "gpu %95s %d %d %llu %llu %llu %d %95[^\n]", made->uuid, &made->handle_code,
                      &made->memory_code, &made->total, &made->free, &made->reserved, &made->mig, made->name) == 8) {
        gpus[gpu_count++] = made;
        pool_used++;
    } else if (sscanf(line, "mig %95s %d %llu %llu", made->uuid, &made->memory_code, &made->total, &made->free) == 4) {
        device *parent = gpus[gpu_count - 1];
        snprintf(made->name, sizeof made->name, "%.80s MIG", parent->name);
        parent->instance[parent->instances++] = made;
        pool_used++;
    }
}

int nvmlInitWithFlags(unsigned int flags) {
    char path[4096], line[512];
    (void)flags;
    pool_used = gpu_count = init_code = memory_v2_code = 0;
    utilisation = -1;
    state_path(path, sizeof path);
    FILE *file = fopen(path, "r");
    if (!file) return 999;
    while (fgets(line, sizeof line, file)) read_line(line);
    fclose(file);
    if (!strcmp(init_action, "hang")) for (;;) pause();
    if (!strcmp(init_action, "crash")) raise(SIGSEGV);
    if (!strcmp(init_action, "chatter")) { printf("nvml: a word from the driver\n"); fflush(stdout); }
    return init_code;
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
        case 3: return "Not Supported";
        case 4: return "Insufficient Permissions";
        case 9: return "Driver Not Loaded";
        case 15: return "GPU is lost";
        case 18: return "Driver/library version mismatch";
        default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned int size) {
    if (!driver[0]) return NOT_SUPPORTED;
    snprintf(version, size, "%s", driver);
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    if (!cuda) return NOT_SUPPORTED;
    *version = cuda;
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = (unsigned int)gpu_count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device **handle) {
    if (index >= (unsigned int)gpu_count) return INVALID_ARGUMENT;
    *handle = gpus[index];
    return gpus[index]->handle_code;
}

int nvmlDeviceGetUUID(device *handle, char *uuid, unsigned int size) {
    snprintf(uuid, size, "%s", handle->uuid);
    return SUCCESS;
}

int nvmlDeviceGetName(device *handle, char *name, unsigned int size) {
    snprintf(name, size, "%s", handle->name);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(device *handle, memory_v1 *memory) {
    memory->total = handle->total * MIB;
    memory->free = handle->free * MIB;
    memory->used = memory->total - memory->free;
    return handle->memory_code;
}

int nvmlDeviceGetMemoryInfo_v2(device *handle, memory_v2 *memory) {
    if (memory->version != (sizeof(memory_v2) | (2U << 24))) return 25;
    if (memory_v2_code) return memory_v2_code;
    memory->total = handle->total * MIB;
    memory->free = handle->free * MIB;
    memory->reserved = handle->reserved * MIB;
    memory->used = memory->total - memory->free - memory->reserved;
    return handle->memory_code;
}

int nvmlDeviceGetUtilizationRates(device *handle, unsigned int *rates) {
    (void)handle;
    if (utilisation < 0) return NOT_SUPPORTED;
    rates[0] = (unsigned int)utilisation;
    rates[1] = 0;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(device *handle, unsigned int *current, unsigned int *pending) {
    if (handle->mig < 0) return NOT_SUPPORTED;
    *current = *pending = (unsigned int)handle->mig;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(device *handle, unsigned int *count) {
    (void)handle;
    *count = 7;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device *handle, unsigned int index, device **instance) {
    if (index >= 7 || !handle->instance[index]) return NOT_FOUND;
    *instance = handle->instance[index];
    return SUCCESS;
}
